"""Choose points to score: some spread evenly, some near the best observations."""

import numpy as np

from tunesmith_core.acquisition.lattice import Lattice
from tunesmith_core.space.scaling import F64

FEW_LEVELS = 3
"""With no more values, a step to a neighbour is as good as a draw."""


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
    d = incumbents.shape[1]
    uniform = rng.random((spread, d))
    if not near or not len(incumbents):
        return lattice.snap(uniform)
    k = len(incumbents)
    centre = incumbents[np.minimum((rng.random(near) ** 2 * k).astype(np.intp), k - 1)]
    scale = 10.0 ** rng.uniform(-3.0, -0.3, size=(near, 1))
    moves = rng.random((near, d)) < np.maximum(rng.random((near, 1)) ** 2, 1.5 / d)
    step = scale * rng.standard_normal((near, d))
    moved = centre + np.where(moves, step, 0.0)
    # A coordinate beyond an edge is put onto it: optima often lie there.
    fresh = rng.random((near, d))
    jump = lattice.categorical | (lattice.levels <= FEW_LEVELS)
    moved = np.where(jump & moves, fresh, np.clip(moved, 0.0, 1.0))
    return lattice.snap(np.concatenate([uniform, moved]))
