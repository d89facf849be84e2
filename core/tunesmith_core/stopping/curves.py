"""Recorded curves: what trials emitted of their objective, and when.

Two times are told apart: that of a clock, by which values come, and that for which a trial's program
ran, which is what is spent. A trial that was paused rested in between.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class Ending(enum.StrEnum):
    """Say how a trial ended in the record."""

    COMPLETED = "Completed"
    STOPPED = "Stopped"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Hold what a trial emitted of its objective, in order.

    Attributes:
        trial: Its name, its own among the curves.
        index: Its launch index, from 1.
        values: The values, at least one, in the metric's own unit.
        steps: What it had spent at each value, rising, from 1.
        elapsed_s: The time since its beginning at each value, not falling; empty: not known.
        lasted_s: The time from its beginning to its end, if those are known.
        running_s: How long it had run at each value and, last, at its end, not falling; empty: it
            ran all the time.
        began_s: When it began, on a clock that all trials share; None: not known.
        full: With so many steps it has done what it was to do; None: nothing says.
        ending: How it ended.
        definition: Whose it is; trials are compared with those of the same definition.
    """

    trial: str
    index: int
    values: tuple[float, ...]
    steps: tuple[int, ...]
    elapsed_s: tuple[float, ...] = ()
    lasted_s: float = 0.0
    running_s: tuple[float, ...] = ()
    began_s: float | None = None
    full: int | None = None
    ending: Ending = Ending.COMPLETED
    definition: str | None = None

    @property
    def is_whole(self) -> bool:
        """Tell whether it did all that it was to do, even if it was stopped after that."""
        if self.ending is Ending.STOPPED:
            return self.full is not None and self.steps[-1] >= self.full
        return self.ending is Ending.COMPLETED

    @property
    def result(self) -> float | None:
        """Give the last value of a trial that did all it was to do, if that is a number."""
        last = self.values[-1]
        return last if self.is_whole and math.isfinite(last) else None

    @property
    def clock_s(self) -> tuple[float, ...]:
        """Give the time since its beginning at each value and, last, at its end; times are known."""
        return (*self.elapsed_s, self.lasted_s)

    @property
    def ran_s(self) -> tuple[float, ...]:
        """Give how long it had run at each value and, last, at its end; times are known."""
        return self.running_s or self.clock_s
