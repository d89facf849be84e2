"""Choose points to score: some spread evenly, some near the best observations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.acquisition.lattice import Lattice
from tunesmith_core.space.scaling import F64

FEW_LEVELS = 3
"""With no more values, a step to a neighbour is as good as a draw."""


class Draws(NamedTuple):
    """Hold what is drawn for candidates, of which ``near`` lie near incumbents.

    Attributes:
        uniform: (spread, d) points.
        which: (near,) which incumbent, in [0, 1).
        scale: (near, 1) how far from it.
        moves: (near, d) which coordinates differ from it.
        step: (near, d) normal.
        fresh: (near, d) places to jump to; none where no coordinate jumps.
    """

    uniform: F64
    which: F64
    scale: F64
    moves: NDArray[np.bool_]
    step: F64
    fresh: F64


def candidates(
    lattice: Lattice, rng: np.random.Generator, incumbents: F64, *, spread: int, near: int
) -> F64:
    """Draw candidates (m, d).

    Args:
        lattice: What a configuration is.
        rng: Where the draws come from.
        incumbents: (k, d) best observed points, best first.
        spread: How many are uniform in the unit cube.
        near: How many lie near incumbents, at scales from the whole cube's down to a thousandth.

    Cost: md draws, m = ``spread + near``.
    """
    near = near if len(incumbents) else 0
    return placed(lattice, draws(lattice, rng, spread=spread, near=near), incumbents)


class DrawsOfMany:
    """Hold the draws for candidates of several searches whose coordinates, as many in each, are continuous.

    What comes of them is what `candidates` gives each; array by array it takes half the time.

    Args:
        rngs: Where the draws of each search come from.
        d: How many coordinates there are.
        spread: As in `candidates`.
        near: As in `candidates`, at least 1.
    """

    def __init__(
        self, rngs: Sequence[np.random.Generator], d: int, *, spread: int, near: int
    ) -> None:
        count = len(rngs)
        self._spread = spread
        # Uniform points, and behind them what becomes the others.
        self._points = np.empty((count, spread + near, d))
        self._which, self._scale = np.empty((count, near)), np.empty((count, near, 1))
        self._coins, self._boldness = np.empty((count, near, d)), np.empty((count, near, 1))
        for place, rng in enumerate(rngs):
            rng.random(out=self._points[place, :spread])
            rng.random(out=self._which[place])
            self._scale[place] = rng.uniform(-3.0, -0.3, size=(near, 1))
            rng.random(out=self._coins[place])
            rng.random(out=self._boldness[place])
            rng.standard_normal(out=self._points[place, spread:])

    def placed(self, incumbents: Sequence[F64]) -> F64:
        """Make candidates (s, m, d) of the draws, once."""
        points, near = self._points, self._points[:, self._spread :]
        counts = np.array([[len(each)] for each in incumbents])
        which = np.minimum((self._which**2 * counts).astype(np.intp), counts - 1)
        near *= 10.0**self._scale
        near *= self._coins < np.maximum(self._boldness**2, 1.5 / points.shape[2])
        for place, each in enumerate(incumbents):
            near[place] += each[which[place]]
        # A coordinate beyond an edge is put onto it: optima often lie there.
        np.clip(near, 0.0, 1.0, out=near)
        return points


def draws(lattice: Lattice, rng: np.random.Generator, *, spread: int, near: int) -> Draws:
    """Draw what `placed` makes candidates of, before it is known where the incumbents are."""
    d = len(lattice.levels)
    uniform = rng.random((spread, d))
    if not near:
        none = np.empty((0, d))
        return Draws(uniform, none[:, 0], none[:, :1], none > 0.0, none, none)
    which = rng.random(near)
    scale = 10.0 ** rng.uniform(-3.0, -0.3, size=(near, 1))
    moves = rng.random((near, d)) < np.maximum(rng.random((near, 1)) ** 2, 1.5 / d)
    step = rng.standard_normal((near, d))
    # Nobody draws any more where all is continuous.
    fresh = rng.random((near, d)) if np.isfinite(lattice.levels).any() else np.empty((0, d))
    return Draws(uniform, which, scale, moves, step, fresh)


def placed(lattice: Lattice, drawn: Draws, incumbents: F64) -> F64:
    """Make candidates (m, d) of draws."""
    if not len(drawn.which):
        return lattice.snap(drawn.uniform)
    k = len(incumbents)
    centre = incumbents[np.minimum((drawn.which**2 * k).astype(np.intp), k - 1)]
    moved = centre + np.where(drawn.moves, drawn.scale * drawn.step, 0.0)
    # A coordinate beyond an edge is put onto it: optima often lie there.
    moved = np.clip(moved, 0.0, 1.0)
    if len(drawn.fresh):
        jump = lattice.categorical | (lattice.levels <= FEW_LEVELS)
        moved = np.where(jump & drawn.moves, drawn.fresh, moved)
    return lattice.snap(np.concatenate([drawn.uniform, moved]))
