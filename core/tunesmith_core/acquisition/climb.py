"""Climb the acquisition from several points in step: one evaluation of all of them at a time.

The formula of the kernel of the same name in `_climb_numba`, which climbs from one point after the
other: the same steps, for whoever is quicker with many points at once, as a GPU is.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.acquisition.log_ei import log_ei_with_slopes, log_news
from tunesmith_core.gp.posterior import Predictor
from tunesmith_core.space.scaling import F64

TINY = 1e-12
ARMIJO = 1e-4
"""A step must gain this share of what the gradient promises."""

FIRST_STEP, LONGEST_STEP = 0.1, 0.3
SHORTEST = 1e-4
"""A share of a step."""

SHORTER = 0.3
TIMID = 0.01
QUIET_STEPS = 2

Score: TypeAlias = Callable[[F64], tuple[F64, F64]]
"""Gives values (s,) and gradients (s, d) at points (s, d)."""


def log_aei_with_slopes(
    predictor: Predictor, x: F64, *, best: float, noise: float
) -> tuple[F64, F64]:
    """Compute ln AEI at points (m, d), and its gradients: (m,) and (m, d).

    Args:
        predictor: Knows mean and deviation.
        x: Points.
        best: What to improve upon.
        noise: Variance of the noise, in the squared unit of ``best``.

    Cost: 4n²m + 7nmd flops and nm exponentials.
    """
    mean, deviation, by_mean, by_deviation = predictor.predict_with_slopes(x)
    value, over_mean, over_deviation = log_ei_with_slopes(mean, deviation, best)
    news, by_spread = log_news(deviation * deviation, noise)
    over_deviation = over_deviation + 2.0 * deviation * by_spread
    gradient = over_mean[:, None] * by_mean + over_deviation[:, None] * by_deviation
    return value + news, gradient


def climb_in_step(score: Score, starts: F64, *, rounds: int, tolerance: float) -> F64:
    """Climb from points (s, d) to maxima in the unit cube: (s, d).

    Projected BFGS with steps that are shortened until they gain.

    Args:
        score: Is to be maximised; gradients are 0 in coordinates that stay.
        starts: Where to begin.
        rounds: At most so many evaluations of each point.
        tolerance: A point stops after two steps that gain less.

    Cost: ``rounds`` calls of ``score``, each with the points that still move, and 8d² flops a point.
    """
    here = np.array(starts)
    value, gradient = score(here)
    h = _ignorance(gradient, FIRST_STEP)
    step, quiet = np.ones(len(here)), np.zeros(len(here), dtype=np.intp)
    ignorant = np.ones(len(here), dtype=np.bool_)
    moving = np.arange(len(here))
    for _ in range(rounds):
        direction = _directions(h[moving], here[moving], gradient[moving])
        longest = np.abs(direction).max(axis=1)
        free = longest > 0.0
        moving, direction, longest = moving[free], direction[free], longest[free]
        if not len(moving):
            break
        shrunk = step[moving] * np.minimum(1.0, LONGEST_STEP / longest)
        there = np.clip(here[moving] + shrunk[:, None] * direction, 0.0, 1.0)
        moved = there - here[moving]
        expected = (moved * gradient[moving]).sum(axis=1)
        reached, fresh = score(there)
        gain = reached - value[moving]
        gains = (gain > 0.0) & (gain >= ARMIJO * expected)

        up, stuck = moving[gains], moving[~gains]
        h[up] = _learned(h[up], moved[gains], gradient[up] - fresh[gains])
        here[up], value[up], gradient[up] = there[gains], reached[gains], fresh[gains]
        step[up], ignorant[up] = 1.0, False
        quiet[up] = np.where(gain[gains] < tolerance, quiet[up] + 1, 0)

        step[stuck] *= SHORTER
        spent = stuck[step[stuck] < SHORTEST]
        # What was learned of the curvature misleads; whoever had learned nothing is at the top.
        again, done = spent[~ignorant[spent]], spent[ignorant[spent]]
        h[again] = _ignorance(gradient[again], FIRST_STEP * SHORTER)
        step[again], ignorant[again] = 1.0, True
        at_rest = (quiet[moving] == QUIET_STEPS) | np.isin(moving, done)
        moving = moving[~at_rest]
    return here


def _ignorance(gradient: F64, length: float) -> F64:
    """Give multiples of the identity (s, d, d) that make gradients (s, d) so long."""
    scale = length / np.maximum(np.sqrt((gradient * gradient).sum(axis=1)), TINY)
    identity: F64 = scale[:, None, None] * np.eye(gradient.shape[1])
    return identity


def _directions(h: F64, here: F64, gradient: F64) -> F64:
    """Give the ways to go in the unit cube (s, d); 0 where a coordinate would leave it."""
    held: NDArray[np.bool_] = ((here <= 0.0) & (gradient < 0.0)) | (
        (here >= 1.0) & (gradient > 0.0)
    )
    uphill = np.where(held, 0.0, gradient)
    direction = np.where(held, 0.0, (h @ uphill[:, :, None])[:, :, 0])
    rise = (direction * gradient).sum(axis=1)
    leads_down = (np.abs(direction).max(axis=1, initial=0.0) > 0.0) & ~(rise > 0.0)
    return np.where(leads_down[:, None], TIMID * gradient, direction)


def _learned(h: F64, moved: F64, bent: F64) -> F64:
    """Update inverse curvatures (s, d, d) by steps and by how the gradients fell, (s, d) each.

    Source: Nocedal & Wright (2006), eq. 6.17.
    """
    curvature = (moved * bent).sum(axis=1)
    concave = curvature > TINY
    rho = 1.0 / np.where(concave, curvature, 1.0)
    work = (h @ bent[:, :, None])[:, :, 0]
    factor = rho + rho * rho * (work * bent).sum(axis=1)
    outer = moved[:, :, None] * moved[:, None, :]
    crossed = work[:, :, None] * moved[:, None, :]
    crossed = crossed + crossed.transpose(0, 2, 1)
    updated = h + factor[:, None, None] * outer - rho[:, None, None] * crossed
    return np.where(concave[:, None, None], updated, h)
