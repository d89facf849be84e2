r"""Asynchronous successive halving, the promotion variant: trials are paused at rungs, and go on.

A trial that reaches a rung is paused there. Whenever there is a place, the best one among those that
wait at a rung goes on, the highest rung first, if it is among the :math:`\lfloor n/\eta \rfloor` best
of the n values there. So a mistake is undone when better company turns out to be worse, and no
resource is spent above a rung that has not been earned; the price is that trials must be able to go
on where they were.

Two things are other than in the paper. A trial that has earned to go on at the moment in which it
reaches a rung does so without a pause: its place is as good as another's. And once there is nothing
new to be started, the best one of a rung goes on even where fewer than :math:`\eta` have been there:
the paper's loop has no end, and here somebody has to reach the full resource.

Rungs lie where those of the stopping variant lie (`rungs`), and nobody is stopped at or above
the full resource but for going on beyond it.

Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", Algorithm 2.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from tunesmith_core.stopping.halving import Verdict
from tunesmith_core.stopping.rungs import ETA, Rungs


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Say how a trial did at the rung at which it is paused.

    Attributes:
        resource: What it had spent.
        value: Its value there.
        rung: Which rung, from 1.
        rank: Its place among the values at the rung, from 1, the best.
        entries: How many values there were, its own included.
        threshold: The worst value with which it would have gone on at once; None: none would have
            done, since too few were there.
    """

    resource: int
    value: float
    rung: int
    rank: int
    entries: int
    threshold: float | None

    def __str__(self) -> str:
        return (
            f"at rung {self.rung}, resource {self.resource}, its objective, {self.value:g}, was "
            f"number {self.rank} of {self.entries}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Name a paused trial that may go on.

    Attributes:
        trial: Which trial.
        rung: Where it is paused, from 1.
    """

    trial: Hashable
    rung: int


@dataclass(slots=True, kw_only=True)
class _Known:
    """Hold a trial.

    Attributes:
        levels: The resource at which it reaches each rung, rising.
        full: Its full resource.
        scores: What it has entered at each rung that it has reached.
        is_paused: It waits at the last of them.
    """

    levels: tuple[int, ...]
    full: int
    scores: list[float] = field(default_factory=list)
    is_paused: bool = False


class PromotionRule:
    """Judge the values of trials as they come, and say who may go on.

    Args:
        maximise: Larger values are better; else smaller ones.
        min_resource: Where the first rung lies, at least 1; None: as `Rungs` says.
        max_resource: The full resource of a trial that has none of its own, at least 1.
        eta: One of so many goes on, above 1.

    Raises:
        ValueError: A number is out of range.

    Memory: some 100 bytes for each rung that a trial has reached.
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
        self._known: dict[Hashable, _Known] = {}
        # For each rung the scores there, the best first; and who waits there, in order of arrival.
        self._rungs: list[list[float]] = [[] for _ in self._ladder.levels]
        self._waiting: list[dict[Hashable, float]] = [{} for _ in self._ladder.levels]

    def begin(self, trial: Hashable, *, full: int | None = None) -> None:
        """Take note of a trial before its first value.

        Args:
            trial: Which trial; what it had emitted before is forgotten.
            full: Its own full resource, at least 1; None: ``max_resource``.
        """
        self.forget(trial)
        full = full or self._ladder.max_resource
        levels = self._ladder.levels_of(full)
        self._known[trial] = _Known(levels=levels, full=full)

    def report(self, trial: Hashable, value: float, *, resource: int) -> Pause | Verdict | None:
        """Take in a trial's value.

        Args:
            trial: Which trial; one that was not begun has ``max_resource``.
            value: In the metric's own unit; one that is not finite is worse than all others.
            resource: What it has spent so far, rising, from 1.

        Returns:
            Why it is to pause, or to stop, since it has gone beyond its full resource; None if it
            should go on. What a trial emits while it is paused, on its way out, tells nothing.

        Cost: at a rung with n values O(log n) comparisons, and a move within them; else O(1).
        """
        known = self._known.get(trial)
        if known is None:
            self.begin(trial)
            known = self._known[trial]
        if resource > known.full:
            return Verdict(resource=resource, value=value)
        if known.is_paused:
            return None
        pause = None
        # A short schedule reaches several rungs at once: only the last of them is where it waits.
        while len(known.scores) < len(known.levels) and (
            known.levels[len(known.scores)] <= resource
        ):
            pause = self._enter(known, value, resource)
        if pause is None or resource >= known.full:
            return None
        known.is_paused = True
        self._waiting[pause.rung - 1][trial] = known.scores[-1]
        return pause

    def _enter(self, known: _Known, value: float, resource: int) -> Pause | None:
        """Enter a value at a trial's next rung; gives None if it has earned to go on."""
        rung = len(known.scores)
        scores = self._rungs[rung]
        score = self._sign * value if math.isfinite(value) else math.inf
        insort(scores, score)
        known.scores.append(score)
        rank = bisect_left(scores, score) + 1
        quota = self._quota(rung, is_last=False)
        if rank <= quota and score < math.inf:
            return None
        return Pause(
            resource=resource,
            value=value,
            rung=rung + 1,
            rank=rank,
            entries=len(scores),
            threshold=self._sign * scores[quota - 1] if quota else None,
        )

    def promotable(
        self, *, ready: Collection[Hashable], is_last: bool = False
    ) -> Sequence[Candidate]:
        """Name those that may go on, in the order in which they should; changes nothing.

        Args:
            ready: Trials that have come to rest; no other one is named.
            is_last: Nothing new is to be started: somebody goes on from every rung.

        Cost: O(n log n) for the n trials that wait.
        """
        return list(self._promotable(ready, is_last=is_last))

    def _promotable(self, ready: Collection[Hashable], *, is_last: bool) -> Iterator[Candidate]:
        for rung in reversed(range(len(self._ladder.levels))):
            quota = self._quota(rung, is_last=is_last)
            if not quota:
                continue
            worst = self._rungs[rung][quota - 1]
            # Sorting keeps the order of arrival among equals.
            for trial, score in sorted(self._waiting[rung].items(), key=lambda each: each[1]):
                if score > worst or math.isinf(score):
                    break
                if trial in ready:
                    yield Candidate(trial=trial, rung=rung + 1)

    def _quota(self, rung: int, *, is_last: bool) -> int:
        """Give how many of a rung may go on, those that have included."""
        entries = len(self._rungs[rung])
        return max(math.floor(entries / self._eta), 1 if is_last and entries else 0)

    def pause(self, trial: Hashable) -> None:
        """Take note, after a restart, that a trial waits at the last rung that it has reached."""
        known = self._known.get(trial)
        if known is not None and known.scores and not known.is_paused:
            known.is_paused = True
            self._waiting[len(known.scores) - 1][trial] = known.scores[-1]

    def resume(self, trial: Hashable) -> None:
        """Take note that a trial goes on; one that was not paused does anyway."""
        known = self._known.get(trial)
        if known is not None and known.is_paused:
            known.is_paused = False
            self._waiting[len(known.scores) - 1].pop(trial, None)

    def end(self, trial: Hashable) -> None:
        """Expect nothing more of a trial; what it has entered at rungs stays."""
        self.resume(trial)
        self._known.pop(trial, None)

    def forget(self, trial: Hashable) -> None:
        """Leave out of account what a trial has emitted: it failed, or begins anew.

        Cost: a search and a move at each rung that it has reached.
        """
        self.resume(trial)
        known = self._known.pop(trial, None)
        if known is None:
            return
        for scores, score in zip(self._rungs, known.scores, strict=False):
            del scores[bisect_left(scores, score)]
