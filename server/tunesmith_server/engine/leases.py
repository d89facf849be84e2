"""The trials that callers hold, and how long each caller may still be silent.

When a lease runs out is not stored: a server that starts anew gives every lease its whole duration
again, since callers could not reach it meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tunesmith_server.domain import events as ev
from tunesmith_server.domain.trial import Trial
from tunesmith_server.engine.background import logged
from tunesmith_server.engine.coordinator import Coordinator

logger = logging.getLogger(__name__)

#: Between looks for leases that have run out: a lease may last so much longer.
_PAUSE_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class Held:
    """Hold one trial of a caller.

    Attributes:
        trial_name: The trial.
        coordinator: Of its tuning job.
        lease_token: The lease under which it is held.
        duration_s: How long its caller may be silent.
        expires_at: When the lease runs out, by the event loop's clock.
    """

    trial_name: str
    coordinator: Coordinator
    lease_token: int
    duration_s: float
    expires_at: float


class Leases:
    """Keep callers' leases, and take trials back from callers that are silent.

    Args:
        stop_grace: A trial that is to stop is kept for its caller no longer than this.
    """

    def __init__(self, *, stop_grace: timedelta) -> None:
        self._stop_grace_s = stop_grace.total_seconds()
        self._held: dict[str, Held] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Look for leases that have run out until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                await asyncio.sleep(_PAUSE_S)
                self._expire()

    def hold(self, coordinator: Coordinator, trial: Trial) -> None:
        """Take note that a caller holds a trial from now on."""
        terms = coordinator.state.spec.lease_terms
        if trial.lease is None or terms is None:
            return
        duration_s = terms.duration.total_seconds()
        self._held[trial.name] = Held(
            trial_name=trial.name,
            coordinator=coordinator,
            lease_token=trial.lease.token,
            duration_s=duration_s,
            expires_at=_now() + duration_s,
        )
        if trial.stop_requested:
            self.stop(trial.name)

    def held(self, trial_name: str) -> Held | None:
        """Find a trial that a caller holds."""
        return self._held.get(trial_name)

    def renew(self, trial_name: str) -> None:
        """Give a lease its whole duration again; that of a trial which is to stop is not renewed."""
        held = self._held.get(trial_name)
        trial = held and held.coordinator.state.trials.get(trial_name)
        if held is not None and trial and not trial.stop_requested:
            held.expires_at = _now() + held.duration_s

    def stop(self, trial_name: str) -> None:
        """Give a trial's caller little time to complete it."""
        held = self._held.get(trial_name)
        if held is not None:
            held.expires_at = min(held.expires_at, _now() + self._stop_grace_s)

    def release(self, trial_name: str) -> None:
        """Forget a trial that nobody holds any more."""
        self._held.pop(trial_name, None)

    def _expire(self) -> None:
        now = _now()
        late = [(name, held) for name, held in self._held.items() if held.expires_at <= now]
        for name, held in late:
            logger.warning("%s: its caller did not go on with it in time", name)
            held.expires_at = now + held.duration_s  # once is enough while it is being written
            event = ev.LeaseExpired(trial_name=name, lease_token=held.lease_token)
            self._start(held.coordinator.deliver(event))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(logged(work, doing="taking a trial back"))


def _now() -> float:
    return asyncio.get_running_loop().time()
