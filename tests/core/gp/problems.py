"""Random observations with random hyperparameters, for tests of the surrogate."""

from dataclasses import dataclass

import numpy as np

from tunesmith_core.gp.parameters import Hyperparameters, Layout, unpack
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.space.scaling import F64

EPS = 2.0**-52

SHAPES = [
    # n, d, categorical coordinates
    (1, 1, 0),
    (1, 3, 3),
    (2, 2, 1),
    (5, 1, 0),
    (8, 4, 2),
    (17, 3, 3),
    (24, 12, 5),
    (40, 6, 0),
    (60, 12, 4),
]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Problem:
    """Hold observations, and hyperparameters somewhere near the prior.

    Attributes:
        theta: (size,) logarithms, as `values` has them.
        x: (n, d) points; a categorical coordinate takes one of three values.
        y: (n,) warped objective.
    """

    layout: Layout
    theta: F64
    x: F64
    y: F64

    @property
    def values(self) -> Hyperparameters:
        return unpack(self.layout, self.theta)


def problem(shape: tuple[int, int, int], *, seed: int, noise: float = 1e-3) -> Problem:
    """Make a problem of n observations in d dimensions, so many of them categorical."""
    n, d, categoricals = shape
    rng = np.random.default_rng([seed, n, d, categoricals])
    categorical = np.zeros(d, dtype=np.bool_)
    categorical[rng.permutation(d)[:categoricals]] = True
    # Every other numeric coordinate goes without a warping, as those of two values do.
    warped = np.flatnonzero(~categorical)[::2]
    layout = Layout(categorical=categorical, warped=warped, unscaled=warped % 4 == 0)
    prior = prior_of(layout, PriorSettings())
    theta = prior.mean + 0.5 * prior.deviation * rng.standard_normal(layout.size)
    theta[-1] = np.log(noise)
    return Problem(
        layout=layout,
        theta=theta,
        x=points(rng, layout, n),
        y=rng.standard_normal(n),
    )


def points(rng: np.random.Generator, layout: Layout, m: int) -> F64:
    """Draw points (m, d), well inside the unit cube, where differences can be taken."""
    x = 0.02 + 0.96 * rng.random((m, layout.dimensions))
    thirds = (np.floor(3 * x) + 0.5) / 3
    return np.where(layout.categorical, thirds, x)
