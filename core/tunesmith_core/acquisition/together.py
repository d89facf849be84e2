"""Search the acquisitions of many models at once, step by step as `maximise` does one.

Each model has its own candidates, from its own stream, and its own lattice; scores and climbs are those of a
device that takes all models in one launch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.acquisition.candidates import DrawsOfMany, draws, placed
from tunesmith_core.acquisition.lattice import Lattice
from tunesmith_core.acquisition.maximise import APART, SearchSettings
from tunesmith_core.space.scaling import F64

_LOOKED_AT = 16
"""Starts are chosen among so many times as many points."""


class Scorer(Protocol):
    """Score and climb for all models at once; points (s, m, d) of s models are padded."""

    def scores(self, z: F64) -> F64:
        """Give ln AEI: (s, m)."""
        ...

    def climbed(self, starts: F64, *, rounds: int, tolerance: float) -> F64:
        """Give the summits: (s, m, d)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Hold what was found (m, d), best first, and all candidates (c, d), with their scores.

    Attributes:
        found: What was climbed to, and looked at around that.
        found_scores: (m,) falling.
        first: The best candidates, best first.
        first_scores: Of them.
        pool: All candidates, in the order of their draws.
        pool_scores: (c,).
    """

    found: F64
    found_scores: F64
    first: F64
    first_scores: F64
    pool: F64
    pool_scores: F64

    @property
    def best(self) -> F64:
        """Give the best point (d,)."""
        is_found = self.found_scores[0] >= self.first_scores[0]
        best: F64 = self.found[0] if is_found else self.first[0]
        return best

    def __iter__(self) -> Iterator[F64]:
        """Give all points by falling acquisition."""
        count = len(self.first)
        yield from self._sorted(self.first, self.first_scores)[:count]
        yield from self._sorted(self.pool, self.pool_scores)[count:]

    def _sorted(self, pool: F64, scores: F64) -> F64:
        points = np.concatenate([self.found, pool])
        return _sorted(points, np.concatenate([self.found_scores, scores]))[0]


class Searches:
    """Search the acquisitions of several models.

    Args:
        scorer: Knows them.
        lattices: What is a configuration of each.
        rngs: Each model's stream; candidates are drawn here, and placed when incumbents are known.
        settings: How hard to search.
        d: How many coordinates the padded points have.
    """

    def __init__(
        self,
        scorer: Scorer,
        lattices: Sequence[Lattice],
        rngs: Sequence[np.random.Generator],
        settings: SearchSettings,
        d: int,
    ) -> None:
        self._scorer, self._lattices, self._rngs = scorer, lattices, rngs
        self._settings, self._d = settings, d
        self._placed = self._drawn()

    def _drawn(self) -> Callable[[Sequence[F64]], F64]:
        """Draw candidates, and give what makes them of the incumbents: (s, m, d)."""
        lattices, rngs, settings = self._lattices, self._rngs, self._settings
        spread, near = settings.spread, settings.near
        if near and all(each.is_continuous and len(each.levels) == self._d for each in lattices):
            return DrawsOfMany(rngs, self._d, spread=spread, near=near).placed
        drawn = [
            draws(lattice, rng, spread=spread, near=near)
            for lattice, rng in zip(lattices, rngs, strict=True)
        ]
        return lambda incumbents: self._padded(
            [placed(*each) for each in zip(lattices, drawn, incumbents, strict=True)]
        )

    def ranked(self, incumbents: Sequence[F64]) -> list[Ranked]:
        """Rank points of each model by its acquisition, the best of them searched for.

        Args:
            incumbents: (k, d') each one's best observed points, best first; at least one.

        Cost: that of `Search.ranked` for each.
        """
        settings, lattices = self._settings, self._lattices
        pool = self._placed([best[: settings.incumbents] for best in incumbents])
        scores = self._scorer.scores(pool)
        order = _best_first(scores, _LOOKED_AT * settings.starts)
        first = np.take_along_axis(pool, order[:, :, None], axis=1)
        first_scores = np.take_along_axis(scores, order, axis=1)
        starts, counts = _distinct(first, settings.starts)
        given = [
            start[:count, : len(lattice.levels)]
            for start, count, lattice in zip(starts, counts, lattices, strict=True)
        ]
        found = self._scored(self._climbed(given))
        for _ in range(2):
            if not any(np.isfinite(lattice.levels).any() for lattice in lattices):
                break
            found = self._looked_around(found)
        widths = [len(lattice.levels) for lattice in lattices]
        return [
            Ranked(*found[place], best[:, :d], of_best, own[:, :d], of_own)
            for place, (d, best, of_best, own, of_own) in enumerate(
                zip(widths, first, first_scores, pool, scores, strict=True)
            )
        ]

    def _looked_around(self, found: list[tuple[F64, F64]]) -> list[tuple[F64, F64]]:
        """Move one discrete coordinate of the best points, and climb from the best of that."""
        around = [
            lattice.neighbours_of_snapped(points[:3], rng)
            for lattice, rng, (points, _) in zip(self._lattices, self._rngs, found, strict=True)
        ]
        if not any(len(each) for each in around):
            return found
        beside = [(points[:3], values[:3]) for points, values in self._scored(around)]
        more = self._scored(self._climbed([points for points, _ in beside]))
        return [
            _sorted(
                np.concatenate([climbed[0], before[0], next_to[0]]),
                np.concatenate([climbed[1], before[1], next_to[1]]),
            )
            for climbed, before, next_to in zip(more, found, beside, strict=True)
        ]

    def _scored(self, points: Sequence[F64]) -> list[tuple[F64, F64]]:
        """Give each model's points (m, d), m its own, by falling acquisition, with their scores."""
        scores = self._scorer.scores(self._padded(points))
        return [_sorted(each, own[: len(each)]) for each, own in zip(points, scores, strict=True)]

    def _climbed(self, starts: Sequence[F64]) -> list[F64]:
        """Climb from each model's starts (m, d), m its own."""
        settings = self._settings
        summits = self._scorer.climbed(
            self._padded(starts), rounds=settings.rounds, tolerance=settings.tolerance
        )
        return [
            lattice.snap(top[: len(own), : own.shape[1]]) if lattice.smooth.any() else own
            for lattice, own, top in zip(self._lattices, starts, summits, strict=True)
        ]

    def _padded(self, points: Sequence[F64]) -> F64:
        """Stack points (m, d), each model's own numbers: (s, m, d), at least one point each."""
        most = max(1, *(len(each) for each in points))
        whole = np.zeros((len(points), most, self._d))
        for place, each in zip(whole, points, strict=True):
            place[: len(each), : each.shape[1]] = each
        return whole


def _sorted(points: F64, scores: F64) -> tuple[F64, F64]:
    order = np.argsort(-scores, kind="stable")
    return points[order], scores[order]


def _best_first(scores: F64, count: int) -> NDArray[np.intp]:
    """Give the places of the highest scores (s, m), highest first, and as they come where they are equal."""
    count = min(count, scores.shape[1])
    chosen = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    chosen.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def _distinct(pools: F64, count: int) -> tuple[F64, NDArray[np.intp]]:
    """Take the first points of each pool (s, m, d) that are not next to one taken before.

    Returns:
        (s, count, d), of which so many were taken: (s,).
    """
    taken = np.full((len(pools), count, pools.shape[2]), np.inf)
    taken[:, 0] = pools[:, 0]
    counts = np.ones(len(pools), dtype=np.intp)
    for place in range(1, pools.shape[1]):
        if counts.min() == count:
            break
        point = pools[:, place]
        nearest = np.abs(taken - point[:, None]).max(axis=2).min(axis=1)
        takes = np.flatnonzero((nearest > APART) & (counts < count))
        taken[takes, counts[takes]] = point[takes]
        counts[takes] += 1
    return taken, counts
