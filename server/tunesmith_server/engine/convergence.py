"""Convergence of one tuning job's search: looked for on its compute worker, now and then.

Nothing of it is stored but what was found. A search is looked at again when its results have grown
by some part. Where convergence completes the tuning job it waits for its turn on the worker; where
it is only reported, it is looked for while the worker has nothing else to do, and for a fiftieth of
the time at most: a suggestion must not wait for what nobody may ask for.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Final

from tunesmith_server.domain.errors import StoreUnavailable
from tunesmith_server.domain.history import Knowledge, learn
from tunesmith_server.domain.tuning_job import JobSpec, JobState
from tunesmith_server.engine.compute import Worker, WorkerLost
from tunesmith_server.store.store import Store

logger = logging.getLogger(__name__)

#: Fewer training jobs with an objective are not looked at.
_FIRST: Final = 10
#: Results grow by one of so many parts before they are looked at again.
_GROWTH: Final = 8
#: After something that only may be of use, so many times as long is rested.
_REST: Final = 49.0


class Leisure:
    """Say whether there is time for what only may be of use, one piece of such work at a time."""

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def is_now(self) -> bool:
        """Tell whether nobody is at such work, and enough time has passed since the last."""
        return asyncio.get_running_loop().time() >= self._until

    def taken(self) -> None:
        """Take note that such work begins; `spent` is to follow."""
        self._until = math.inf

    def spent(self, seconds: float) -> None:
        """Take note of such work that has just ended."""
        self._until = asyncio.get_running_loop().time() + _REST * seconds


class Convergence:
    """Look for the convergence of one tuning job's search.

    Args:
        spec: What the tuning job asks for.
        job_id: The store's number for it.
        store: Has its training jobs.
        worker: Has its optimiser, and looks.
        leisure: Of this server.
    """

    def __init__(
        self, spec: JobSpec, *, job_id: int, store: Store, worker: Worker, leisure: Leisure
    ) -> None:
        self._spec = spec
        self._job_id = job_id
        self._store = store
        self._worker = worker
        self._leisure = leisure
        self._next = _FIRST
        self._is_looking = False
        self._took_s = 0.0

    def begins(self, state: JobState) -> bool:
        """Tell whether to look now; if so, ``is_found`` is to be called."""
        if self._is_looking or not state.goes_on or state.job.converged_at is not None:
            return False
        self._is_looking = (
            state.job.counters.objective_succeeded >= self._next
            and state.job.launched < self._spec.max_training_jobs
            and (self._matters or self._leisure.is_now)
        )
        if self._is_looking and not self._matters:
            self._leisure.taken()
        return self._is_looking

    async def is_found(self, state: JobState) -> bool:
        """Look whether the search has converged, as far as that is possible now."""
        try:
            return await self._look(state)
        except (WorkerLost, StoreUnavailable) as error:
            logger.info("%s: convergence was not looked for: %s", self._spec.name, error)
            return False
        finally:
            self._is_looking = False
            if not self._matters:
                self._leisure.spent(self._took_s)
            self._took_s = 0.0

    @property
    def _matters(self) -> bool:
        """Tell whether convergence completes the tuning job."""
        return self._spec.criteria.on_convergence

    async def _look(self, state: JobState) -> bool:
        connection = await self._worker.connection()
        if not connection.is_warm:
            if not self._matters:
                return False
            await connection.warmed()
        if connection.in_line and not self._matters:
            return False
        news = learn(Knowledge(), await self._store.outcomes(self._job_id))
        if news is None:
            raise AssertionError("a history is told from its beginning")
        loop = asyncio.get_running_loop()
        async with connection.turn():
            began = loop.time()
            try:
                assessment = await connection.assess(
                    spaces={each.name: each.space for each in self._spec.definitions},
                    maximise=self._spec.goal.maximise,
                    ends=news.ends,
                    remaining=self._spec.max_training_jobs - state.job.launched,
                )
            finally:
                # Also when the worker died of it: else it would be looked for at once, and again.
                self._took_s = loop.time() - began
        found = state.job.counters.objective_succeeded
        self._next = found + max(1, found // _GROWTH)
        return assessment.has_converged
