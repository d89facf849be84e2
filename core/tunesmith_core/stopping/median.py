"""The median rule: a trial is stopped when it is worse than most were at the same point.

At each value that a trial emits, its epoch, the value is compared with the median, over the trials
that have ended before, of the averages of their values up to that epoch. The value itself is
compared, not its average. Source: Amazon SageMaker's developer guide, "Stop Training Jobs Early";
the rule goes back to Golovin et al. 2017, "Google Vizier", section 3.2.2.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

FEWEST: Final = 2
"""There is no decision before so many trials have reached the epoch and ended: the guide names no
number, and the median of one trial would stop every other one that follows."""

LAST_EPOCH: Final = 10_000
"""There is no decision from here on, which bounds what is kept of a trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Say why a trial need not go on.

    Attributes:
        epoch: At which of its values, from 1.
        value: Its value there.
        median: What it was compared with; a value as good as that would have gone on.
        entries: How many trials the median is over.
    """

    epoch: int
    value: float
    median: float
    entries: int

    def __str__(self) -> str:
        return (
            f"at epoch {self.epoch} its objective, {self.value:g}, was worse than {self.median:g}, "
            f"the median of the averages up to there of the {self.entries} training jobs that have "
            f"ended"
        )


class MedianRule:
    """Judge the values of trials as they come.

    Args:
        maximise: Larger values are better; else smaller ones.

    Memory: 8 bytes for each value of a trial, up to `LAST_EPOCH` of them.
    """

    def __init__(self, *, maximise: bool) -> None:
        self._maximise = maximise
        # Averages up to each epoch, and their sum: of trials that have not ended.
        self._open: dict[Hashable, tuple[array[float], float]] = {}
        # For each epoch the averages of the trials that have ended, ascending.
        self._ended: list[array[float]] = []

    def report(self, trial: Hashable, value: float) -> Verdict | None:
        """Take in a trial's value at its next epoch.

        Args:
            trial: Which trial; one that is not known begins with its first epoch.
            value: In the metric's own unit. One that is not a number counts as an epoch, and says
                nothing.

        Returns:
            Why the trial should stop; None if it should go on.

        Cost: O(1).
        """
        averages, total = self._open.get(trial, (array("d"), 0.0))
        epoch = len(averages) + 1
        if epoch > LAST_EPOCH:
            return None
        total += value
        averages.append(total / epoch)
        self._open[trial] = averages, total
        median = self.median(epoch)
        if median is None or not (value < median if self._maximise else value > median):
            return None
        entries = len(self._ended[epoch - 1])
        return Verdict(epoch=epoch, value=value, median=median, entries=entries)

    def median(self, epoch: int) -> float | None:
        """Give the median of the ended trials' averages up to an epoch, counted from 1.

        None while fewer than `FEWEST` of them have reached it.
        """
        if epoch > len(self._ended):
            return None
        averages = self._ended[epoch - 1]
        count = len(averages)
        if count < FEWEST:
            return None
        return (averages[(count - 1) // 2] + averages[count // 2]) / 2

    def end(self, trial: Hashable) -> None:
        """Let others be measured by a trial, which has ended with an objective.

        Cost: for each of its epochs, a search and a move among the ended trials.
        """
        averages, _ = self._open.pop(trial, (array("d"), 0.0))
        for epoch, average in enumerate(averages):
            if epoch == len(self._ended):
                self._ended.append(array("d"))
            if math.isfinite(average):
                insort(self._ended[epoch], average)

    def forget(self, trial: Hashable) -> None:
        """Leave out of account what a trial has emitted: it failed, or begins anew."""
        self._open.pop(trial, None)
