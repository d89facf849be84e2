"""Turn what trials gave into what the surrogate is fitted to: minimised, robust, of unit scale.

The core minimises. A goal flips the sign here, once, and nowhere else.
"""

import enum
import math

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.space.scaling import F64

_HALF = 0.5
_GOOD_TAIL = 10.0
"""Percentile that, with the median, says how wide the good half is."""


class Goal(enum.StrEnum):
    """Say which way an objective is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


def minimised(value: float | None, goal: Goal) -> float:
    """Give an objective value as one to be minimised; NaN for a failed or non-finite one."""
    if value is None or not math.isfinite(value):
        return math.nan
    return -float(value) if goal is Goal.MAXIMIZE else float(value)


def warped(values: F64) -> F64:
    """Warp minimised values (n,), NaN for failures, to mean 0 and variance 1.

    Values better than the median keep their distances; those worse are drawn together
    logarithmically, so that a few huge ones don't flatten what matters. Failures count as the
    worst value seen. The order is kept; equal values stay equal, and all equal ones become 0.

    Returns:
        (n,) finite numbers, lower is better.

    Source: the idea of treating the bad half apart is that of Song et al. 2024, "The Vizier
    Gaussian Process Bandit Algorithm", section 4; the logarithm is ours, measured better than
    their ranks and than a power transform.

    Cost: n ln n.
    """
    failed = np.isnan(values)
    warped_values = np.zeros(len(values))
    y = values[~failed]
    if not len(y) or y.min() == y.max():
        warped_values[failed] = 1.0 if len(y) else 0.0
        return warped_values
    # Scaled first: the distance between two float64 may be infinite, or a square of it.
    y = y / np.abs(y).max()
    y = (y - np.median(y)) / (y.max() - y.min())
    width = max(-float(np.percentile(y, _GOOD_TAIL)), 1e-12)
    y /= width
    y = np.where(y > 0, np.log1p(np.maximum(y, 0.0)), y)
    warped_values[~failed] = y
    warped_values[failed] = y.max()
    warped_values -= warped_values.mean()
    warped_values /= warped_values.std()
    return warped_values


def warped_each(values: F64, there: NDArray[np.bool_]) -> F64:
    """Warp the values of several searches at once, as `warped` does each, to rounding.

    Args:
        values: (s, n) minimised values, NaN for failures.
        there: (s, n) which of them there are.

    Returns:
        (s, n) finite numbers, 0 where there is none.

    Cost: n ln n for each.
    """
    failed = there & np.isnan(values)
    known = there & ~failed
    least = np.where(known, values, np.inf).min(axis=1, initial=np.inf)
    most = np.where(known, values, -np.inf).max(axis=1, initial=-np.inf)
    tells = (least < most)[:, None]  # not all are equal, and there are some
    told = known & tells
    plain = np.where(told, values, 0.0)
    scale = np.where(tells, np.abs(plain).max(axis=1, keepdims=True, initial=0.0), 1.0)
    plain /= scale
    rising, last = np.sort(np.where(told, plain, np.inf), axis=1), told.sum(axis=1) - 1

    def nth(place: NDArray[np.intp]) -> F64:
        """Give the number at a place among those told, 0 where none is told: (s, 1)."""
        found: F64 = np.where(tells, rising[np.arange(len(rising)), place][:, None], 0.0)
        return found

    widest = np.where(tells, nth(last) - nth(0 * last), 1.0)
    middle = (nth(last // 2) + nth(last - last // 2)) / 2.0
    place = last * (_GOOD_TAIL / 100.0)
    below = np.floor(place).astype(np.intp)
    low, high = ((nth(at) - middle) / widest for at in (below, np.minimum(below + 1, last)))
    part = (place - below)[:, None]
    tail = np.where(part < _HALF, low + (high - low) * part, high - (high - low) * (1.0 - part))
    y = (plain - middle) / widest / np.maximum(-tail, 1e-12)
    y = np.where(y > 0, np.log1p(np.maximum(y, 0.0)), y)
    worst = np.where(told, y, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    y = np.where(there & tells, np.where(failed, worst, y), 0.0)
    total = np.maximum(there.sum(axis=1, keepdims=True), 1)
    y = np.where(there, y - y.sum(axis=1, keepdims=True) / total, 0.0)
    deviation = np.sqrt((y * y).sum(axis=1, keepdims=True) / total)
    equal = np.where(failed & known.any(axis=1, keepdims=True), 1.0, 0.0)
    scaled: F64 = np.where(tells, y / np.where(deviation > 0, deviation, 1.0), equal)
    return scaled


def slope_of(values: F64, y: F64) -> float:
    """Give how many units of the warped objective one of the objective makes, where it is good.

    Args:
        values: (n,) minimised values, NaN for failures.
        y: (n,) the same, warped.

    Returns:
        At least 0, and finite; 0 where all values are equal, or too close for float64 to tell.

    Cost: n operations.
    """
    finite = ~np.isnan(values)
    v, w = values[finite], y[finite]
    scale = float(np.abs(v).max()) if len(v) else 0.0
    if scale == 0.0:
        return 0.0
    # Scaled first: the distance between two float64 may be infinite.
    v = v / scale
    best = int(np.argmin(v))
    other = int(np.argmax(np.where(v <= np.median(v), v, -np.inf)))
    if v[other] == v[best]:
        other = int(np.argmax(v))
    if v[other] == v[best]:
        return 0.0
    slope = float(w[other] - w[best]) / float(v[other] - v[best]) / scale
    return slope if math.isfinite(slope) else 0.0


def telling(y: F64, count: int) -> NDArray[np.intp]:
    """Choose observations: the better half of ``count`` by value, the others spread over the rest.

    Args:
        y: (n,) values, lower is better, NaN the worst.
        count: How many to choose, below n.

    Returns:
        (count,) indices, rising.

    Cost: n ln n.
    """
    order = np.argsort(y, kind="stable")
    half = count // 2
    rest = order[half:]
    few = rest[np.linspace(0, len(rest) - 1, count - half).astype(np.intp)]
    return np.sort(np.concatenate([order[:half], few]))
