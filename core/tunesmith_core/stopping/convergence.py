"""Tell when a search has converged: no improvement worth having is expected of the trials to come.

A Gaussian process is fitted to the results so far, whatever strategy chose them. The search has
converged when the trials that are left, each as good as the most promising one, are not expected to
improve the best value by a hundredth of it; and were not either when a part of the results was
unknown, since a model is soon sure of too much.

Noise is accounted for twice: what is to be improved on is the smallest value that the model expects,
and not a lucky measurement; and of an improvement only that part counts which another measurement
would show (augmented expected improvement).

Sources: Makarova et al. 2022, "Automatic Termination for Hyperparameter Optimization", for stopping
by what the model says is left, against what would be noticed; the hundredth is that of the API's
``ConvergenceDetected``.
"""

import math
from collections.abc import Sequence

import numpy as np

from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.gp.backends import Backend
from tunesmith_core.objective import Goal, minimised, telling
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space.ranges import Configuration, SearchSpace

FIRST = 10
"""Fewer values say too little."""

IMPROVEMENT = 0.01
"""An improvement of less than this share of the best value is none."""

HORIZON = 100
"""Of the trials that are left, so many are looked at, at most."""

PART = 8
"""One result of so many, the latest, is what the verdict must not depend on."""

MOST = 400
"""So many results are looked at, at most: the best, and some of the rest."""


def has_converged(
    space: SearchSpace,
    results: Sequence[tuple[Configuration, float | None]],
    goal: Goal,
    *,
    remaining: int,
    backend: Backend | None = None,
) -> bool:
    """Tell whether a search has converged; a function of its arguments alone.

    Args:
        space: What is searched.
        results: Configurations of it and what came of them, in order; None is a failure.
        goal: Which way values are better.
        remaining: How many trials are to come, at least 1.
        backend: Who does the array work; compiled kernels when absent.

    Returns:
        False while there are fewer than 10 values, or all are equal: then there is no scale on
        which an improvement could be small.

    Raises:
        SpaceError: A configuration is not one of the space.

    Cost: two fits, and two searches of the acquisition, of `Optimizer.ask`.
    """
    before = results[: len(results) - max(1, len(results) // PART)]
    threshold = math.log(IMPROVEMENT / min(max(remaining, 1), HORIZON))
    gain = _log_gain(space, results, goal, backend)
    if gain == -math.inf:
        return True  # nothing is left
    return gain < threshold and _log_gain(space, before, goal, backend) < threshold


def _log_gain(
    space: SearchSpace,
    results: Sequence[tuple[Configuration, float | None]],
    goal: Goal,
    backend: Backend | None,
) -> float:
    """Give what the most promising trial is expected to gain, as a share of the best value: ln.

    Infinite: there is nothing to tell it from. Minus infinity: no configuration is left.
    """
    optimizer = Optimizer(space, seed=0, goal=goal, backend=backend)
    if len(results) > MOST:
        for configuration, _ in results:
            optimizer.abandon(configuration)
        y = np.array([minimised(value, goal) for _, value in results])
        results = [results[index] for index in telling(y, MOST)]
    for configuration, value in results:
        optimizer.tell(configuration, value)
    values = optimizer.values[np.isfinite(optimizer.values)]
    if len(values) < FIRST or values.min() == values.max():
        return math.inf
    best = float(values.min())
    try:
        gain = optimizer.promise(best=best, slope=0.0, growth=1).log_gain
    except SpaceExhausted:
        return -math.inf
    return gain - math.log(abs(best)) if best else math.inf
