"""Make the values of trials that were stopped early comparable with those of trials that were not.

What a trial has reached when a rule stops it counts as its value, as if it had not improved any more.
That is too little to say of it, and yet was measured to be better, or as good: of four surrogates
with the resource as one more coordinate three left more regret on recorded training runs, since what
was stopped then looks less bad than it is, and of the fourth it is undecided. Where values become
*worse* as trials go on, though, one that was stopped early would look better than all that were not,
and be followed. So it gets a handicap: the median change of those that went on from the same rung, if
that is for the worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith_core.space.scaling import F64


@dataclass(frozen=True, slots=True)
class _Entry:
    """Hold a trial's value at a rung, and whether it went on from there."""

    value: float
    went_on: bool


class Unfinished:
    """Know at which rungs a search's trials were, and which of them did not come to their end."""

    def __init__(self) -> None:
        # Who reached each rung, by place among the results.
        self._rungs: list[dict[int, _Entry]] = []
        self._stopped: set[int] = set()

    def put(self, place: int, values: Sequence[float], *, is_stopped: bool) -> None:
        """Take note of a result, in place of what was known of it.

        Args:
            place: Its index among the results.
            values: What it had at the rungs that it reached, from the first on, minimised; NaN
                where it was not a finite number.
            is_stopped: It was stopped before its full resource, and after the last of these.
        """
        while len(self._rungs) < len(values):
            self._rungs.append({})
        for rung in self._rungs:
            rung.pop(place, None)
        for number, (rung, value) in enumerate(zip(self._rungs, values, strict=False), start=1):
            rung[place] = _Entry(value, not is_stopped or number < len(values))
        if is_stopped:
            self._stopped.add(place)
        else:
            self._stopped.discard(place)

    @property
    def stopped(self) -> int:
        """Count the results of trials that did not come to their end."""
        return len(self._stopped)

    def comparable(self, results: F64) -> F64:
        """Give results, minimised, with a handicap for each that was stopped.

        Args:
            results: (n,) the first n results, NaN for failures.

        Returns:
            (n,) no less than those; a function of them and of what is known of them.

        Cost: n operations for each rung.
        """
        if not self._stopped:
            return results
        comparable = results.copy()
        for rung in self._rungs:
            known = [(p, e.value, e.went_on) for p, e in rung.items() if p < len(results)]
            if not known:
                continue
            places = np.array([place for place, _, _ in known], dtype=np.intp)
            went_on = np.array([goes for _, _, goes in known])
            change = (results[places] - np.array([value for _, value, _ in known]))[went_on]
            change = change[np.isfinite(change)]
            if len(change):
                comparable[places[~went_on]] += max(0.0, float(np.median(change)))
        return comparable
