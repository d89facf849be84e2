"""Snap points to what a configuration can be: whole numbers, one of a few values."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.space.ranges import Categorical, Integer, Scaling, SearchSpace
from tunesmith_core.space.scaling import F64, integer_from_unit, integer_to_unit

MAX_LEVELS = 2**20
"""Integers with more values are as good as continuous; decoding rounds them."""

SMOOTH_LEVELS = 12
"""Integers with more values are moved as if they were continuous, and rounded afterwards."""

_STEPS = np.array([-2, -1, 1, 2])


class Lattice:
    """Say which points of the unit cube are configurations.

    Args:
        space: What is searched.
        pinned: Coordinates that are not, by index, and where they are.

    Attributes:
        levels: (d,) number of values of each coordinate; inf where it is continuous.
        categorical: (d,) whether its values have no order.
        smooth: (d,) whether gradients may move it.
    """

    def __init__(self, space: SearchSpace, pinned: Mapping[int, float] | None = None) -> None:
        pinned = pinned or {}
        self._pinned = np.array(sorted(pinned), dtype=np.intp)
        self._places = np.array([pinned[j] for j in sorted(pinned)])
        levels = [float(p.cardinality or np.inf) for p in space.parameters]
        self.levels: F64 = np.array(levels)
        self.levels[self.levels > MAX_LEVELS] = np.inf
        self.categorical: NDArray[np.bool_] = np.array(
            [isinstance(p, Categorical) for p in space.parameters], dtype=np.bool_
        )
        self.levels[self._pinned] = 1.0
        self.smooth: NDArray[np.bool_] = (self.levels > SMOOTH_LEVELS) & ~self.categorical
        self._even = np.flatnonzero(
            np.isfinite(self.levels)
            & np.array(
                [
                    not (isinstance(p, Integer) and p.scaling is Scaling.LOGARITHMIC)
                    for p in space.parameters
                ],
                dtype=np.bool_,
            )
        )
        self._logarithmic = [
            (j, p.lo, p.hi)
            for j, p in enumerate(space.parameters)
            if isinstance(p, Integer)
            and p.scaling is Scaling.LOGARITHMIC
            and np.isfinite(self.levels[j])
        ]

    @property
    def is_continuous(self) -> bool:
        """Tell whether every point of the unit cube is a configuration."""
        return bool(np.isinf(self.levels).all())

    def snap(self, x: F64) -> F64:
        """Move points (m, d) to the nearest configurations.

        Cost: md operations.
        """
        x = np.clip(x, 0.0, 1.0)
        even = self._even
        if len(even):
            levels = self.levels[even]
            x[:, even] = (np.minimum(np.floor(x[:, even] * levels), levels - 1) + 0.5) / levels
        for j, lo, hi in self._logarithmic:
            whole = integer_from_unit(x[:, j], lo=lo, hi=hi, scaling=Scaling.LOGARITHMIC)
            x[:, j] = integer_to_unit(whole, lo=lo, hi=hi, scaling=Scaling.LOGARITHMIC)
        return self.pinned(x)

    def pinned(self, x: F64) -> F64:
        """Give points (m, d) with the coordinates that are not searched where they are pinned."""
        if not len(self._pinned):
            return x
        x = x.copy()
        x[:, self._pinned] = self._places
        return x

    def neighbours(self, point: F64, rng: np.random.Generator) -> F64:
        """List what differs from a snapped point (d,) in one discrete coordinate: (m, d).

        All values of a coordinate that has few or whose values have no order; otherwise those
        next to the point's, and two at random.
        """
        moved: list[F64] = []
        for j in np.flatnonzero(np.isfinite(self.levels) & (self.levels > 1)):
            values = self._values_near(int(j), float(point[j]), rng)
            block = np.repeat(point[None, :], len(values), axis=0)
            block[:, j] = values
            moved.append(block)
        if not moved:
            return np.empty((0, len(point)))
        around = self.snap(np.concatenate(moved))
        different: F64 = around[(around != point).any(axis=1)]
        return different

    def _values_near(self, j: int, coordinate: float, rng: np.random.Generator) -> F64:
        levels = int(self.levels[j])
        all_of_them = bool(self.categorical[j]) or levels <= SMOOTH_LEVELS
        for column, lo, hi in self._logarithmic:
            if column != j:
                continue
            here = np.array([coordinate])
            (whole,) = integer_from_unit(here, lo=lo, hi=hi, scaling=Scaling.LOGARITHMIC)
            near = np.arange(lo, hi + 1) if all_of_them else np.clip(whole + _STEPS, lo, hi)
            values = integer_to_unit(
                near.astype(np.int64), lo=lo, hi=hi, scaling=Scaling.LOGARITHMIC
            )
            return values if all_of_them else np.append(values, rng.random(2))
        if all_of_them:
            return (np.arange(levels) + 0.5) / levels
        return np.append(coordinate + _STEPS / levels, rng.random(2))
