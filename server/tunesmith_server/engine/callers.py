"""What callers that run their own trials can do: ask for trials, report on them, complete them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tunesmith_core.space.ranges import SearchSpace
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.caller_steps import check_lease, says_the_same
from tunesmith_server.domain.errors import (
    AlreadyCompleted,
    Conflict,
    InvalidState,
    TrainingJobNotFound,
)
from tunesmith_server.domain.job_spec import is_caller_run
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.domain.trial import Trial
from tunesmith_server.engine.coordinator import Coordinator
from tunesmith_server.engine.jobs import Jobs
from tunesmith_server.engine.leases import Held, Leases
from tunesmith_server.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """Hold one trial that a caller holds.

    Attributes:
        trial: The trial.
        space: What its parameters are of.
        duration: How long it is kept for a silent caller.
    """

    trial: Trial
    space: SearchSpace
    duration: timedelta


class Callers:
    """Serve callers; everything is durable when it returns."""

    def __init__(self, *, jobs: Jobs, leases: Leases, store: Store) -> None:
        self._jobs = jobs
        self._leases = leases
        self._store = store

    async def suggest(
        self, tuning_job_name: str, *, client_id: str, count: int, max_wait_s: float
    ) -> tuple[Sequence[Lent], TuningJobStatus]:
        """Hand out trials: those that the caller holds, and new ones up to ``count``.

        Returns:
            The caller's trials, in launch order, and where the tuning job stands.

        Raises:
            ResourceNotFound: There is no such tuning job.
            InvalidState: Runners run its trials.
            Overloaded: Too many asks wait.
            StoreUnavailable: The trials could not be written down.
        """
        coordinator = self._jobs.find_open(tuning_job_name)
        if coordinator is None:
            stored = await self._jobs.read(tuning_job_name)
            return (), stored.job.status
        desk, spec = self._jobs.desk(coordinator), coordinator.state.spec
        if desk is None or spec.lease_terms is None:
            raise InvalidState(
                f"The trials of the tuning job {spec.name} are run by the server's runners: it has a "
                f"TrainingJobDefinition. Create a tuning job without one to run its trials yourself."
            )
        if len(coordinator.state.held_by(client_id)) < count:
            await desk.ask(client_id, count=count, max_wait_s=max_wait_s)
            await self._end_untold(coordinator, client_id)
        trials = coordinator.state.held_by(client_id)[:count]
        for trial in trials:
            self._leases.renew(trial.name)
        duration = spec.lease_terms.duration
        lent = [
            Lent(trial=trial, space=spec.definition.space, duration=duration) for trial in trials
        ]
        return lent, coordinator.state.job.status

    async def _end_untold(self, coordinator: Coordinator, client_id: str) -> None:
        """End the trials that were handed out and stopped in one decision: nobody runs them."""
        ends = [
            coordinator.post(ev.LeaseExpired(trial_name=trial.name, lease_token=trial.lease.token))
            for trial in coordinator.state.trials.values()
            if trial.lease is not None
            and trial.lease.instance_id == client_id
            and trial.stopped_as_it_began
        ]
        if ends:
            await asyncio.gather(*ends)

    async def report(
        self, trial_name: str, *, lease_token: int, step: int, values: Mapping[str, float]
    ) -> bool:
        """Take in values of metrics; tells whether the trial is to stop.

        Raises:
            TrainingJobNotFound: There is no such trial.
            InvalidState: A runner runs it.
            AlreadyCompleted: It has ended.
            Conflict: It was taken back.
            Overloaded: Too much is queued.
            StoreUnavailable: The values could not be written down.
        """
        held = await self._held(trial_name, lease_token)
        if values:
            event = ev.MetricsReported(
                trial_name=held.trial_name, lease_token=lease_token, step=step, values=values
            )
            await held.coordinator.post(event)
            await self._jobs.judged(held.trial_name)
        self._leases.renew(held.trial_name)
        trial = held.coordinator.state.trials.get(held.trial_name)
        return trial is None or trial.stop_requested

    async def complete(self, completed: ev.TrialCompleted) -> None:
        """End a trial. A repeat under the same completion id is answered like the first.

        Raises:
            TrainingJobNotFound: There is no such trial.
            InvalidState: A runner runs it.
            AlreadyCompleted: It has ended.
            Conflict: It was taken back, or the completion id was used for another result of it.
            Overloaded: Too much is queued.
            StoreUnavailable: Its end could not be written down.
        """
        try:
            held = await self._held(completed.trial_name, completed.lease_token)
            await held.coordinator.post(replace(completed, trial_name=held.trial_name))
        except AlreadyCompleted:
            if completed.completion_id is None:
                raise
            stored = await self._store.trial(completed.trial_name)
            if stored is None or stored.trial.completion_id != completed.completion_id:
                raise
            if not says_the_same(stored.trial, completed):
                raise Conflict(
                    f"The request id {completed.completion_id} was used before, to complete "
                    f"{stored.trial.name} with another result; nothing was changed."
                ) from None

    async def _held(self, trial_name: str, lease_token: int) -> Held:
        """Find a trial that is held under this lease."""
        held = self._leases.held(trial_name)
        if held is not None and held.lease_token == lease_token:
            return held
        stored = await self._store.trial(trial_name)
        if stored is None:
            raise TrainingJobNotFound(trial_name)
        if not is_caller_run(stored.job.request):
            raise InvalidState(
                f"The training job {trial_name} is run by a runner, which alone reports on it."
            )
        if stored.trial.status.is_terminal:
            raise AlreadyCompleted(trial_name)
        check_lease(stored.trial, lease_token)
        held = self._leases.held(stored.trial.name)  # its name in other letters
        if held is None:
            raise AlreadyCompleted(trial_name)
        return held
