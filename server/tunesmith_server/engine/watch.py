"""A tuning job's events, from a given point until its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from tunesmith.v1 import event_pb2
from tunesmith_server.domain import views
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.engine.fan_out import FanOut
from tunesmith_server.store.store import Store

#: Events read at a time.
_PAGE: Final = 500
#: A watcher looks again after this long even when nobody woke it.
_PATIENCE_S: Final = 5.0

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
        self, job_id: int, *, after: int
    ) -> AsyncIterator[event_pb2.WatchHyperParameterTuningJobResponse]:
        """Give every event above a sequence, in order, and end once the tuning job has ended."""
        while True:
            # Both asked before reading, or the last events are missed.
            is_open = self._is_open(job_id)
            changed = self._fan_out.next_change(job_id) if is_open else None
            page = await self._store.events(job_id, after=after, limit=_PAGE)
            for event in page:
                after = event.sequence
                yield event
                if event.tuning_job.hyper_parameter_tuning_job_status in _TERMINAL:
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
