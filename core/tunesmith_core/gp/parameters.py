"""Name the surrogate's hyperparameters, and lay them out in a vector for the fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.space.ranges import Categorical, Scaling, SearchSpace
from tunesmith_core.space.scaling import F64

MIN_WARPED = 2
"""Whole numbers with more values than this have a warping."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Say what each coordinate of a point is to the surrogate.

    Attributes:
        categorical: (d,) whether two values are just the same or not.
        warped: Indices of the coordinates that have a warping.
        unscaled: Those of them whose scaling is to be learned.
        task: Index of the categorical coordinate that says which search a result is from; -1
            for none.
        task_ls: The length-scale that this coordinate is believed to have.
    """

    categorical: NDArray[np.bool_]
    warped: NDArray[np.intp]
    unscaled: NDArray[np.bool_]
    task: int = -1
    task_ls: float = 1.0

    @property
    def dimensions(self) -> int:
        """Give the number of coordinates."""
        return len(self.categorical)

    @property
    def size(self) -> int:
        """Give the length of a vector of hyperparameters."""
        return self.dimensions + 2 * len(self.warped) + 1


@dataclass(frozen=True, slots=True, eq=False)
class Hyperparameters:
    """Hold the surrogate's hyperparameters.

    Attributes:
        ls: (d,) length-scales, per edge of the warped unit cube, > 0.
        a: (d,) first warping exponent, > 0; 1 where there is none.
        b: (d,) second warping exponent, likewise.
        noise: Variance of the noise, in units of the signal's variance, > 0.
    """

    ls: F64
    a: F64
    b: F64
    noise: float


def layout_of(space: SearchSpace) -> Layout:
    """Read the layout off a search space: numeric coordinates with more than two values warp."""
    parameters = space.parameters
    categorical = np.array([isinstance(p, Categorical) for p in parameters], dtype=np.bool_)
    free = np.array(
        [p.cardinality is None or p.cardinality > MIN_WARPED for p in parameters], dtype=np.bool_
    )
    auto = np.array(
        [not isinstance(p, Categorical) and p.scaling is Scaling.AUTO for p in parameters],
        dtype=np.bool_,
    )
    warped = np.flatnonzero(~categorical & free)
    return Layout(categorical=categorical, warped=warped, unscaled=auto[warped])


def pack(layout: Layout, values: Hyperparameters) -> F64:
    """Lay hyperparameters out as logarithms: ls, a, b, noise."""
    warped = layout.warped
    parts = [values.ls, values.a[warped], values.b[warped], np.array([values.noise])]
    theta: F64 = np.log(np.concatenate(parts))
    return theta


def unpack(layout: Layout, theta: F64) -> Hyperparameters:
    """Read hyperparameters back from their logarithms."""
    d, w = layout.dimensions, len(layout.warped)
    exponents = np.exp(theta)
    a, b = np.ones(d), np.ones(d)
    a[layout.warped], b[layout.warped] = exponents[d : d + w], exponents[d + w : d + 2 * w]
    return Hyperparameters(ls=exponents[:d], a=a, b=b, noise=float(exponents[-1]))
