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

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith_core.devices import Devices
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.objective import Goal, minimised, slope_of, telling, warped
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Hold what came of a configuration of a definition's search space.

    Attributes:
        definition: The definition's name, None for one without.
        configuration: The configuration.
        value: The objective; None is a failure.
    """

    definition: str | None = None
    configuration: Configuration
    value: float | None


def has_converged(
    spaces: Mapping[str | None, SearchSpace],
    results: Sequence[Result],
    goal: Goal,
    *,
    remaining: int,
    devices: Devices | None = None,
) -> bool:
    """Tell whether a search has converged; a function of its arguments alone.

    Args:
        spaces: What is searched, by definition.
        results: What came of it, in order.
        goal: Which way values are better.
        remaining: How many trials are to come, at least 1.
        devices: Who does the array work; compiled kernels on the CPU when absent.

    Returns:
        False while there are fewer than 10 values, or all are equal: then there is no scale on
        which an improvement could be small. A definition without a value promises nothing.

    Raises:
        SpaceError: A configuration is not one of its space.

    Cost: for each definition two fits, and two searches of the acquisition, of `Optimizer.ask`.
    """
    before = results[: len(results) - max(1, len(results) // PART)]
    threshold = math.log(IMPROVEMENT / min(max(remaining, 1), HORIZON))
    gain = _log_gain(spaces, results, goal, devices)
    if gain == -math.inf:
        return True  # nothing is left
    return gain < threshold and _log_gain(spaces, before, goal, devices) < threshold


def _log_gain(
    spaces: Mapping[str | None, SearchSpace],
    results: Sequence[Result],
    goal: Goal,
    devices: Devices | None,
) -> float:
    """Give what the most promising trial is expected to gain, as a share of the best value: ln.

    Infinite: there is nothing to tell it from. Minus infinity: no configuration is left.
    """
    values = np.array([minimised(each.value, goal) for each in results])
    chosen = set(range(len(values)))
    if len(values) > MOST:
        chosen = set(telling(values, MOST).tolist())
    finite = values[np.isfinite(values)]
    if len(finite) < FIRST or finite.min() == finite.max():
        return math.inf
    best, slope = float(finite.min()), slope_of(values, warped(values))
    gains = []
    for name, space in spaces.items():
        optimizer = Optimizer(space, seed=0, goal=goal, devices=devices)
        for place, each in enumerate(results):
            if each.definition != name:
                continue
            if place in chosen:
                optimizer.tell(each.configuration, each.value)
            else:
                optimizer.abandon(each.configuration)  # known, and of no more weight
        with contextlib.suppress(SpaceExhausted):
            gains.append(optimizer.promise(best=best, slope=slope, growth=1).log_gain)
    if not gains:
        return -math.inf
    return max(gains) - math.log(abs(best)) if best else math.inf
