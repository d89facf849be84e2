"""Make the values of trials that were stopped early comparable with those of trials that were not.

What a trial has reached when a rule stops it counts as its value, as if it had not improved any more.
That is too little to say of it, and was measured to be the better for it: a surrogate with the
resource as one more coordinate, or with what a trial would have come to, left more regret on
recorded training runs, since what was stopped then looks less bad than it is. Where values become
*worse* as trials go on, though, one that was stopped early would look better than all that were not,
and be followed. So it gets a handicap: the median change of those that went on from the same rung, if
that is for the worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.space.scaling import F64


@dataclass(slots=True)
class _Rung:
    """Hold who reached a rung, in the order of the results: their places, values, and who went on."""

    places: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    went_on: list[bool] = field(default_factory=list)


class Unfinished:
    """Know at which rungs a search's trials were, and which of them did not come to their end."""

    def __init__(self) -> None:
        self._results = 0
        self._rungs: list[_Rung] = []
        self._has_stopped = False

    def add(self, values: Sequence[float], *, is_stopped: bool) -> None:
        """Take note of the next result.

        Args:
            values: What it had at the rungs that it reached, from the first on, minimised; NaN
                where it was not a finite number.
            is_stopped: It was stopped before its full resource, and after the last of these.
        """
        while len(self._rungs) < len(values):
            self._rungs.append(_Rung())
        for number, (rung, value) in enumerate(zip(self._rungs, values, strict=False), start=1):
            rung.places.append(self._results)
            rung.values.append(value)
            rung.went_on.append(not is_stopped or number < len(values))
        self._has_stopped |= is_stopped
        self._results += 1

    def comparable(self, results: F64) -> F64:
        """Give results, minimised, with a handicap for each that was stopped.

        Args:
            results: (n,) the first n results that were added, NaN for failures.

        Returns:
            (n,) no less than those; a function of them and of what was added with them.

        Cost: n operations for each rung.
        """
        if not self._has_stopped:
            return results
        comparable = results.copy()
        for rung in self._rungs:
            places: NDArray[np.intp] = np.array(rung.places, dtype=np.intp)
            here = places < len(results)
            went_on = np.array(rung.went_on)[here]
            places = places[here]
            change = (results[places] - np.array(rung.values)[here])[went_on]
            change = change[np.isfinite(change)]
            if len(change):
                comparable[places[~went_on]] += max(0.0, float(np.median(change)))
        return comparable
