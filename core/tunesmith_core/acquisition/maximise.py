"""Find the point that promises most: score many, improve the best few, look around them."""

import functools
from dataclasses import dataclass

import numpy as np

from tunesmith_core.acquisition.candidates import candidates
from tunesmith_core.acquisition.climb import climb_in_step, log_aei_with_slopes
from tunesmith_core.acquisition.lattice import Lattice
from tunesmith_core.acquisition.log_ei import log_ei, log_news
from tunesmith_core.gp.posterior import Predictor
from tunesmith_core.space.scaling import F64

APART = 0.02
"""Starts differ by this much of a range in some coordinate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Hold how hard the acquisition is searched; the defaults are those measured best."""

    spread: int = 256
    near: int = 256
    incumbents: int = 5
    starts: int = 6
    rounds: int = 25
    tolerance: float = 1e-4


class Search:
    """Search one acquisition: the augmented expected improvement below ``best``."""

    def __init__(
        self, predictor: Predictor, lattice: Lattice, best: float, settings: SearchSettings
    ) -> None:
        self._in_step = predictor.posterior.backend.climbs_in_step
        self._predictor, self._lattice = predictor, lattice
        self._best, self._settings = best, settings
        self._noise = predictor.variance * predictor.posterior.noise
        values = predictor.posterior.hyperparameters
        self._exponents = np.stack([values.ls, values.a, values.b])
        self._movable = lattice.smooth.astype(np.float64)

    @functools.cached_property
    def _arrays(self) -> tuple[F64, F64, F64, F64]:
        return self._predictor.host_arrays()

    def scores(self, x: F64) -> F64:
        """Compute ln AEI at points (m, d): (m,).

        Cost: a prediction, n²m + 3nmd flops.
        """
        mean, deviation = self._predictor.predict(x)
        if self._in_step:
            news, _ = log_news(deviation * deviation, self._noise)
            return log_ei(mean, deviation, self._best) + news
        from tunesmith_core.acquisition import _climb_numba as kernels

        out = np.empty(len(x))
        kernels.scores(mean, deviation, self._best, self._noise, out)
        return out

    def ranked(self, rng: np.random.Generator, incumbents: F64) -> F64:
        """Give points (m, d) by falling acquisition, the best of them searched for.

        Cost: a prediction of ``spread + near`` points, and three times ``starts`` climbs of at most
        ``rounds`` evaluations, 2n² + 8nd flops each.
        """
        settings, lattice = self._settings, self._lattice
        pool = candidates(
            lattice,
            rng,
            incumbents[: settings.incumbents],
            spread=settings.spread,
            near=settings.near,
        )
        pool, score = self._sorted(pool, self.scores(pool))
        found = self._climbed(_distinct(pool, settings.starts))
        found, found_score = self._sorted(found, self.scores(found))
        if np.isfinite(lattice.levels).any():
            for _ in range(2):
                around = np.concatenate([lattice.neighbours(point, rng) for point in found[:3]])
                if not len(around):
                    break
                around, around_score = self._sorted(around, self.scores(around))
                more = self._climbed(around[:3])
                found = np.concatenate([more, found, around[:3]])
                found_score = np.concatenate([self.scores(more), found_score, around_score[:3]])
                found, found_score = self._sorted(found, found_score)
        return self._sorted(np.concatenate([found, pool]), np.concatenate([found_score, score]))[0]

    def best_first(self, points: F64) -> F64:
        """Give points (m, d) by falling acquisition.

        Cost: that of `scores`.
        """
        return self._sorted(points, self.scores(points))[0]

    def _climbed(self, starts: F64) -> F64:
        if not self._lattice.smooth.any():
            return starts
        climb = self._climb_in_step if self._in_step else self._climb_alone
        return self._lattice.snap(climb(np.ascontiguousarray(starts)))

    def _climb_in_step(self, x: F64) -> F64:
        def score(points: F64) -> tuple[F64, F64]:
            value, gradient = log_aei_with_slopes(
                self._predictor, points, best=self._best, noise=self._noise
            )
            return value, gradient * self._movable

        settings = self._settings
        return climb_in_step(score, x, rounds=settings.rounds, tolerance=settings.tolerance)

    def _climb_alone(self, x: F64) -> F64:
        from tunesmith_core.acquisition import _climb_numba as kernels

        u, mismatch, inverse, alpha = self._arrays
        settings = self._settings
        kernels.climb(
            x,
            self._movable,
            self._exponents,
            u,
            mismatch,
            inverse,
            alpha,
            self._predictor.variance,
            self._best,
            self._noise,
            settings.rounds,
            settings.tolerance,
        )
        return x

    @staticmethod
    def _sorted(points: F64, score: F64) -> tuple[F64, F64]:
        order = np.argsort(-score, kind="stable")
        return points[order], score[order]


def _distinct(pool: F64, count: int) -> F64:
    """Take the first points that are not next to one taken before.

    Each depends on those before it, so that this is a loop, over at most 16 ``count`` points.
    """
    taken = [pool[0]]
    for point in pool[1 : 16 * count]:
        if len(taken) == count:
            break
        if np.abs(np.array(taken) - point).max(axis=1).min() > APART:
            taken.append(point)
    return np.array(taken)
