r"""Map numeric ranges onto [0, 1] and back, in the scaling that each range declares.

With s(x) = x, ln x or -ln(1 - x) for Linear, Logarithmic and ReverseLogarithmic,

.. math:: u = \frac{s(x) - s(lo)}{s(hi) - s(lo)}

and both bounds are included. An integer range is the continuous range [lo - 1/2, hi + 1/2],
rounded, so that its two edges weigh as much as their neighbours. These are the transforms of
Syne Tune (`hp_ranges_impl.py`), by the team behind SageMaker's tuner, which publishes none.

Auto is Linear here. SageMaker starts from linear and lets its model learn a warping; a design
without a model has nothing to learn from, so it stays where SageMaker starts.

Everything is computed from x - lo, the distance from the lower bound, through log1p and expm1: a
narrow range far from zero loses no digits, and integers beyond 2**53 stay exact. Encoding is off
by a few eps relative to u; decoding by a few ulp of the bounds, or by what an error of a few eps
times s(hi) - s(lo) does to s(x).

Not here: which parameter has which scaling (`ranges`), and text (`encoding`).
"""

from typing import TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.space.ranges import Scaling

F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]

FIXED = 0.5
"""Where the only value of a one-value range lies in [0, 1]: what integers give by the formula."""


def continuous_to_unit(x: F64, *, lo: float, hi: float, scaling: Scaling) -> F64:
    """Encode real values, each within [lo, hi], in [0, 1]; `lo` gives 0 and `hi` gives 1."""
    if lo == hi:
        return np.full_like(x, FIXED)
    width = scaled_distance(np.array(hi), lo=lo, scaling=scaling)
    return np.clip(scaled_distance(x, lo=lo, scaling=scaling) / width, 0, 1)


def continuous_from_unit(u: F64, *, lo: float | F64, hi: float | F64, scaling: Scaling) -> F64:
    """Decode coordinates, clipped to [0, 1], as real values in [lo, hi], both reached exactly."""
    width = scaled_distance(np.array(hi), lo=lo, scaling=scaling)
    x = lo + true_distance(np.clip(u, 0, 1) * width, lo=lo, scaling=scaling)
    # exp(ln hi) is an ulp or more away from hi.
    return np.where(u >= 1, hi, np.clip(x, lo, hi))


def integer_to_unit(values: I64, *, lo: int, hi: int, scaling: Scaling) -> F64:
    """Encode whole numbers, each within [lo, hi], as points inside their share of [0, 1].

    Decoding gives the same number back in ranges of up to 2**40 values; above, one close by.
    """
    middle = (values.view(np.uint64) - _wrapped(lo)) + np.float64(0.5)
    width = _scaled_offset(np.array(float(hi - lo + 1)), edge=lo - 0.5, scaling=scaling)
    return np.clip(_scaled_offset(middle, edge=lo - 0.5, scaling=scaling) / width, 0, 1)


def integer_from_unit(u: F64, *, lo: int, hi: int, scaling: Scaling) -> I64:
    """Decode coordinates, clipped to [0, 1], as whole numbers in [lo, hi], both reached."""
    width = _scaled_offset(np.array(float(hi - lo + 1)), edge=lo - 0.5, scaling=scaling)
    offset = np.floor(true_distance(np.clip(u, 0, 1) * width, lo=lo - 0.5, scaling=scaling))
    # Where the last offset is no float64, the floats below it still convert without overflow.
    last = (offset >= float(hi - lo)) | (u >= 1)
    whole = np.where(last, 0.0, offset).astype(np.uint64)
    return (np.where(last, np.uint64(hi - lo), whole) + _wrapped(lo)).view(np.int64)


def integer_masses(*, lo: int, hi: int, scaling: Scaling) -> F64:
    """Give the probability of each whole number in [lo, hi] when u is uniform.

    Returns:
        (hi - lo + 1,) probabilities above 0; they sum to 1.
    """
    edges = np.arange(hi - lo + 1, dtype=np.float64) + np.float64(lo - 0.5)
    masses = _scaled_offset(np.ones_like(edges), edge=edges, scaling=scaling)
    return masses / np.float64(masses.sum())


def scaled_distance(x: F64, *, lo: float | F64, scaling: Scaling) -> F64:
    """Compute s(x) - s(lo), for x of at least `lo`, to a few eps relative to the result."""
    y: F64
    match scaling:
        case Scaling.AUTO | Scaling.LINEAR:
            y = x - lo
        case Scaling.LOGARITHMIC:
            y = np.log1p((x - lo) / lo)
        case Scaling.REVERSE_LOGARITHMIC:
            y = np.log1p((x - lo) / (1 - x))
        case _:
            assert_never(scaling)
    return y


def true_distance(y: F64, *, lo: float | F64, scaling: Scaling) -> F64:
    """Compute x - lo from y = s(x) - s(lo): the inverse of `scaled_distance`."""
    t: F64
    match scaling:
        case Scaling.AUTO | Scaling.LINEAR:
            t = y
        case Scaling.LOGARITHMIC:
            t = lo * np.expm1(y)
        case Scaling.REVERSE_LOGARITHMIC:
            t = (lo - 1) * np.expm1(-y)
        case _:
            assert_never(scaling)
    return t


def _scaled_offset(offset: F64, *, edge: F64 | float, scaling: Scaling) -> F64:
    """Compute s(edge + offset) - s(edge), where the sum itself may be no float64."""
    y: F64 = np.log1p(offset / edge) if scaling is Scaling.LOGARITHMIC else offset
    return y


def _wrapped(lo: int) -> NDArray[np.uint64]:
    """Give `lo` modulo 2**64: sums and differences then come out right though they wrap."""
    return np.array([lo % 2**64], dtype=np.uint64)
