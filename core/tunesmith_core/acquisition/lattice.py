"""Snap points to what a configuration can be: whole numbers, one of a few values."""

import functools
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
_DRAWN = 2


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
        """List what differs from a point (d,) in one discrete coordinate: (m, d), snapped.

        All values of a coordinate that has few or whose values have no order; otherwise those
        next to the point's, and two at random.
        """
        columns, (values,) = self._steps_from(point[None, :], rng)
        around = np.repeat(self.snap(point[None, :]), len(values), axis=0)
        around[np.arange(len(values)), columns] = values
        different: F64 = around[(around != point).any(axis=1)]
        return different

    def neighbours_of_snapped(self, points: F64, rng: np.random.Generator) -> F64:
        """List the same of several points (k, d) that are known to be snapped: (m, d), in their order."""
        columns, values = self._steps_from(points, rng)
        differs = values != points[:, columns]
        which, places = np.nonzero(differs)
        around: F64 = points[which]
        around[np.arange(len(which)), columns[places]] = values[differs]
        return around

    def _steps_from(self, points: F64, rng: np.random.Generator) -> tuple[NDArray[np.intp], F64]:
        """Give which coordinate is moved (m,), and where to from each of the points (k, m)."""
        columns, values, moving = self._steps
        values = np.repeat(values[None, :], len(points), axis=0)
        drawn = rng.random((len(points), len(moving), _DRAWN))
        for place, (j, begin) in enumerate(moving):
            near = self._values_near(j, points[:, j, None], drawn[:, place])
            values[:, begin : begin + near.shape[1]] = near
        return columns, values

    @functools.cached_property
    def _steps(self) -> tuple[NDArray[np.intp], F64, list[tuple[int, int]]]:
        """List the coordinates and values of all neighbours (m,), snapped, and where those near a point go.

        The last are a coordinate, and the place of the first of its values.
        """
        columns: list[int] = []
        values: list[F64] = []
        moving: list[tuple[int, int]] = []
        for j in np.flatnonzero(np.isfinite(self.levels) & (self.levels > 1)).tolist():
            if self.categorical[j] or self.levels[j] <= SMOOTH_LEVELS:
                values.append(self._all_values(j))
            else:
                moving.append((j, len(columns)))
                values.append(np.zeros(len(_STEPS) + _DRAWN))
            columns += [j] * len(values[-1])
        return np.array(columns, dtype=np.intp), np.concatenate([np.empty(0), *values]), moving

    def _all_values(self, j: int) -> F64:
        for column, lo, hi in self._logarithmic:
            if column == j:
                every = np.arange(lo, hi + 1, dtype=np.int64)
                return integer_to_unit(every, lo=lo, hi=hi, scaling=Scaling.LOGARITHMIC)
        levels = int(self.levels[j])
        return (np.arange(levels) + 0.5) / levels

    def _values_near(self, j: int, coordinates: F64, drawn: F64) -> F64:
        """Give the values of a coordinate next to each of some (k, 1), and those drawn (k, r), snapped."""
        for column, lo, hi in self._logarithmic:
            if column == j:
                scaling = Scaling.LOGARITHMIC
                both = np.concatenate([coordinates, drawn], axis=1)
                whole = integer_from_unit(both, lo=lo, hi=hi, scaling=scaling)
                near = np.clip(whole[:, :1] + _STEPS, lo, hi)
                return integer_to_unit(
                    np.concatenate([near, whole[:, 1:]], axis=1), lo=lo, hi=hi, scaling=scaling
                )
        levels = self.levels[j]
        near = np.concatenate([coordinates + _STEPS / levels, drawn], axis=1).clip(0.0, 1.0)
        snapped: F64 = (np.minimum(np.floor(near * levels), levels - 1) + 0.5) / levels
        return snapped
