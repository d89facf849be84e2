"""Keep simulated time: things to do, each at its time, and a clock that jumps from one to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

Act = Callable[[], object]


class Agenda:
    """Do things in the order of their times; what is due at one time, in the order of its entry."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self._due: list[tuple[datetime, int, Act]] = []
        self._entered = 0

    def after(self, delay_s: float, act: Act) -> None:
        """Enter something to do after a delay."""
        self.at(self.now + timedelta(seconds=delay_s), act)

    def at(self, time: datetime, act: Act) -> None:
        """Enter something to do at a time; at once if that has passed."""
        heapq.heappush(self._due, (time, self._entered, act))
        self._entered += 1

    def advance(self) -> bool:
        """Do the next thing; False when there is none."""
        if not self._due:
            return False
        time, _, act = heapq.heappop(self._due)
        self.now = max(self.now, time)
        act()
        return True
