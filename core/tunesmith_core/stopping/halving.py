r"""Asynchronous successive halving, the stopping variant: few trials reach their full resource.

A trial is judged when its resource, by default the number of values that it has emitted, reaches a
rung. Rungs lie at :math:`r_{min}\,\eta^k`, below the trial's full resource. It goes on if its value
there is no worse than the :math:`1/\eta` quantile of all values at that rung, its own among them; while
a rung has fewer than two values, it goes on. Nobody waits for a rung to fill. A trial that goes on
beyond its full resource is stopped, and not when it reaches it: it may be about to end by itself, and
to save what it has learnt.

A trial belongs to a bracket: in bracket b it is not judged at the first b rungs, so that some trials
are given time in case the first values mislead. Its values count there all the same.

Where the full resource is a hyperparameter, rungs are fractions of each trial's own: a trial of 9
epochs is compared with one of 90 when both have done a third.

Sources: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), for the rungs
and for not waiting; Li et al. 2018, "Hyperband", for the brackets; the quantile is that of Syne Tune's
stopping rule.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from tunesmith_core.stopping.rungs import ETA, Rungs

FEWEST: Final = 2
"""With fewer values at a rung every trial goes on."""

BRACKET_EVERY: Final = 16
"""One trial of so many is not judged at the first rung, in case first values mislead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Say why a trial need not go on.

    Attributes:
        resource: What it had spent.
        value: Its value there.
        rung: Which rung it has reached, from 1; 0: it has gone beyond its full resource.
        rank: Its place among the values at the rung, from 1, the best.
        entries: How many values there were, its own included.
        threshold: The worst value with which it would have gone on.
    """

    resource: int
    value: float
    rung: int = 0
    rank: int = 0
    entries: int = 0
    threshold: float = math.nan

    def __str__(self) -> str:
        if not self.rung:
            return f"it went on beyond its full resource, to {self.resource}"
        return (
            f"at rung {self.rung}, resource {self.resource}, its objective, {self.value:g}, was "
            f"number {self.rank} of {self.entries}; it would have gone on with {self.threshold:g}"
        )


@dataclass(slots=True, kw_only=True)
class _Running:
    """Hold a trial that has not ended.

    Attributes:
        levels: The resource at which it reaches each rung, rising.
        full: Its full resource.
        bracket: It is not judged at so many of the first rungs.
        scores: What it has entered at each rung that it has reached.
    """

    levels: tuple[int, ...]
    full: int
    bracket: int
    scores: list[float] = field(default_factory=list)


class HalvingRule:
    """Judge the values of trials as they come.

    Args:
        maximise: Larger values are better; else smaller ones.
        min_resource: Where the first rung lies, at least 1; None: as `Rungs` says.
        max_resource: The full resource of a trial that has none of its own, at least 1.
        eta: One of so many goes on, above 1.

    Raises:
        ValueError: A number is out of range.

    Memory: 8 bytes for each rung that a trial has reached.
    """

    def __init__(
        self,
        *,
        maximise: bool,
        min_resource: int | None = None,
        max_resource: int,
        eta: float = ETA,
    ) -> None:
        self._ladder = Rungs(min_resource, max_resource, eta)
        self._sign = -1.0 if maximise else 1.0
        self._eta = eta
        self._running: dict[Hashable, _Running] = {}
        # For each rung the values there, the best first.
        self._rungs: list[list[float]] = [[] for _ in self._ladder.levels]

    @property
    def levels(self) -> tuple[int, ...]:
        """Give the resource of each rung, rising, of a trial with ``max_resource``."""
        return self._ladder.levels

    @property
    def rungs(self) -> int:
        """Give the number of rungs."""
        return len(self._ladder.levels)

    def begin(self, trial: Hashable, *, bracket: int = 0, full: int | None = None) -> None:
        """Take note of a trial before its first value.

        Args:
            trial: Which trial; what it had emitted before is forgotten.
            bracket: At so many of the first rungs it is not judged.
            full: Its own full resource, at least 1; None: ``max_resource``.
        """
        self.forget(trial)
        full = full or self._ladder.max_resource
        levels = self._ladder.levels_of(full)
        self._running[trial] = _Running(levels=levels, full=full, bracket=bracket)

    def report(self, trial: Hashable, value: float, *, resource: int) -> Verdict | None:
        """Take in a trial's value.

        Args:
            trial: Which trial; one that was not begun is in bracket 0.
            value: In the metric's own unit; one that is not finite is worse than all others.
            resource: What it has spent so far, rising, from 1.

        Returns:
            Why it should stop; None if it should go on.

        Cost: at a rung with n values O(log n) comparisons, and a move within them; else O(1).
        """
        running = self._running.get(trial)
        if running is None:
            self.begin(trial)
            running = self._running[trial]
        if resource > running.full:
            return Verdict(resource=resource, value=value)
        verdict = None
        # A short schedule reaches several rungs at once, as does one that leaves values out.
        while (rung := len(running.scores)) < self.rungs and running.levels[rung] <= resource:
            found = self._enter(running, value, resource)
            if rung >= running.bracket and resource < running.full:
                verdict = verdict or found
        return verdict

    def _enter(self, running: _Running, value: float, resource: int) -> Verdict | None:
        """Enter a value at a trial's next rung, and judge it there."""
        rung = len(running.scores)
        scores = self._rungs[rung]
        score = self._sign * value if math.isfinite(value) else math.inf
        insort(scores, score)
        running.scores.append(score)
        # One that has diverged never goes on where there are others that have not.
        finite = bisect_left(scores, math.inf)
        threshold = min(_quantile(scores, 1.0 / self._eta), scores[max(finite - 1, 0)])
        if len(scores) < FEWEST or score <= threshold:
            return None
        return Verdict(
            resource=resource,
            value=value,
            rung=rung + 1,
            rank=bisect_left(scores, score) + 1,
            entries=len(scores),
            threshold=self._sign * threshold,
        )

    def entries(self, trial: Hashable) -> tuple[float, ...]:
        """Give the values with which a trial that has not ended is at the rungs that it has reached.

        From the first rung on, in the metric's own unit; infinitely bad where it was not finite.
        """
        running = self._running.get(trial)
        return () if running is None else tuple(self._sign * each for each in running.scores)

    def end(self, trial: Hashable) -> None:
        """Expect nothing more of a trial; what it has entered at rungs stays."""
        self._running.pop(trial, None)

    def forget(self, trial: Hashable) -> None:
        """Leave out of account what a trial has emitted: it failed, or begins anew.

        Cost: a search and a move at each rung that it has reached.
        """
        running = self._running.pop(trial, None)
        if running is None:
            return
        for scores, score in zip(self._rungs, running.scores, strict=False):
            del scores[bisect_left(scores, score)]


def bracket_of(index: int) -> int:
    """Give the bracket of a trial by its launch index, from 1: one of so many has more time."""
    return 1 if index % BRACKET_EVERY == 0 else 0


def _quantile(ascending: list[float], q: float) -> float:
    """Give a quantile by linear interpolation, as numpy does; of infinities the finite end."""
    at = q * (len(ascending) - 1)
    low = math.floor(at)
    here, there = ascending[low], ascending[min(low + 1, len(ascending) - 1)]
    if here == there or math.isinf(there):
        return here
    return here + (at - low) * (there - here)
