"""A tuning job's events, all or some of them, from a given point until its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from tunesmith.v1 import event_pb2
from tunesmith_server.domain import views
from tunesmith_server.domain.errors import TrainingJobNotFound
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.engine.fan_out import FanOut
from tunesmith_server.store.store import Store

#: Events read at a time.
_PAGE: Final = 500
#: A watcher looks again after this long even when nobody woke it.
_PATIENCE_S: Final = 5.0

_TUNING_JOB: Final = event_pb2.WATCH_EVENT_KIND_TUNING_JOB
_TERMINAL: Final = {
    views.TUNING_STATUS_VALUES[status] for status in TuningJobStatus if status.is_terminal
}


class Watch:
    """Read events for watchers."""

    def __init__(self, *, store: Store, fan_out: FanOut, is_open: Callable[[int], bool]) -> None:
        self._store = store
        self._fan_out = fan_out
        self._is_open = is_open

    async def events(
        self,
        job_id: int,
        *,
        after: int,
        trial_name: str | None = None,
        kinds: frozenset[event_pb2.WatchEventKind.ValueType] = frozenset(),
    ) -> AsyncIterator[event_pb2.WatchHyperParameterTuningJobResponse]:
        """Give a tuning job's events in order, and end once it has ended.

        The event that ended it is given whatever was asked for.

        Args:
            job_id: The tuning job.
            after: Only events above this sequence.
            trial_name: Only events about this training job, and the tuning job's own.
            kinds: Only events of these kinds; none: of all.

        Raises:
            TrainingJobNotFound: The tuning job has no training job of that name.
        """
        if trial_name is not None:
            await self._check_trial(job_id, trial_name)
        wants_own = not kinds or _TUNING_JOB in kinds
        while True:
            # Both asked before reading, or the last events are missed.
            is_open = self._is_open(job_id)
            changed = self._fan_out.next_change(job_id) if is_open else None
            page = await self._store.events(
                job_id,
                after=after,
                limit=_PAGE,
                trial_name=trial_name,
                # The end is among the tuning job's own, which are few.
                kinds=kinds | {_TUNING_JOB} if kinds else kinds,
            )
            for event in page:
                after = event.sequence
                has_ended = event.tuning_job.hyper_parameter_tuning_job_status in _TERMINAL
                if has_ended or wants_own or not event.HasField("tuning_job"):
                    yield event
                if has_ended:
                    return
            if page:
                continue
            if changed is None:
                return
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await changed.wait()
            except TimeoutError:
                continue

    async def _check_trial(self, job_id: int, name: str) -> None:
        stored = await self._store.trial(name)
        if stored is None or stored.job.job.job_id != job_id:
            raise TrainingJobNotFound(name)
