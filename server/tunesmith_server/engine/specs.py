"""What tuning jobs ask for, read off requests and what they refer to: new ones, and stored ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.autotune import with_choices
from tunesmith_server.domain.job_spec import read_job_spec
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.tuning_job import JobSpec, Parent
from tunesmith_server.domain.validation.parents import Candidate, check_parents
from tunesmith_server.domain.warm_start import with_family_limit
from tunesmith_server.store.store import Store, StoredJob

#: More parents than this are refused, whatever they are.
_MOST_PARENTS: Final = 5


class Specs:
    """Read requests, with the parents that they name.

    Args:
        store: Has the tuning jobs that there are.
        account: Whose the tuning jobs are.
        site: Where they run.
    """

    def __init__(self, *, store: Store, account: Account, site: Site) -> None:
        self._store = store
        self._account = account
        self._site = site

    async def accepted(
        self,
        request: pb.CreateHyperParameterTuningJobRequest,
        *,
        seed: int,
        is_repeat: bool,
    ) -> JobSpec:
        """Read a create request.

        Args:
            request: As it was sent.
            seed: Seed to use when it has no RandomSeed.
            is_repeat: It was accepted before; its parents may have gone since.

        Raises:
            InvalidRequest: It breaks constraints or rules, or its parents do not allow it.
        """
        chosen = with_choices(request, site=self._site)
        named = chosen.warm_start_config.parent_hyper_parameter_tuning_jobs
        parents = [
            await self._store.job(each.hyper_parameter_tuning_job_name)
            for each in named[:_MOST_PARENTS]
        ]
        launched = sum(parent.job.launched for parent in parents if parent is not None)
        most = self._site.max_training_jobs
        chosen = with_family_limit(chosen, launched=launched, most=most)
        spec = self._read(chosen, seed=seed)
        if not parents:
            return spec
        if not is_repeat:
            candidates = [None if each is None else self._candidate(each) for each in parents]
            check_parents(spec, candidates, most_jobs=most)
        return replace(spec, parents=self._parents(each for each in parents if each is not None))

    async def stored(self, stored: StoredJob) -> JobSpec:
        """Read a tuning job's request again, which is not refused now for whatever has changed."""
        spec = self._read(stored.request, seed=stored.seed, trusted=True)
        if not stored.request.HasField("warm_start_config"):
            return spec
        parents = await self._store.parents(stored.job.job_id)
        return replace(spec, parents=self._parents(parents))

    def _read(
        self,
        request: pb.CreateHyperParameterTuningJobRequest,
        *,
        seed: int,
        trusted: bool = False,
    ) -> JobSpec:
        return read_job_spec(
            request, account=self._account, site=self._site, seed=seed, trusted=trusted
        )

    def _candidate(self, stored: StoredJob) -> Candidate:
        return Candidate(
            spec=self._read(stored.request, seed=stored.seed, trusted=True),
            status=stored.job.status,
            launched=stored.job.launched,
        )

    def _parents(self, stored: Iterable[StoredJob]) -> tuple[Parent, ...]:
        return tuple(
            Parent(
                job_id=each.job.job_id,
                spec=self._read(each.request, seed=each.seed, trusted=True),
            )
            for each in stored
        )
