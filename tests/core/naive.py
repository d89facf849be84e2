"""Slow, obvious versions of what the core computes fast, and the statistics that compare them."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.space import Scaling

DIGITS = 60


def scaled(x: Decimal, scaling: Scaling) -> Decimal:
    """s(x), exactly as the module docstring of `scaling` has it."""
    if scaling is Scaling.LOGARITHMIC:
        return x.ln()
    if scaling is Scaling.REVERSE_LOGARITHMIC:
        return -(1 - x).ln()
    return x


def unscaled(s: Decimal, scaling: Scaling) -> Decimal:
    if scaling is Scaling.LOGARITHMIC:
        return s.exp()
    if scaling is Scaling.REVERSE_LOGARITHMIC:
        return 1 - (-s).exp()
    return s


def to_unit(x: float, lo: float, hi: float, scaling: Scaling) -> float:
    with localcontext() as context:
        context.prec = DIGITS
        first, last = (scaled(Decimal(bound), scaling) for bound in (lo, hi))
        return float((scaled(Decimal(x), scaling) - first) / (last - first))


def from_unit(u: float, lo: float, hi: float, scaling: Scaling) -> float:
    with localcontext() as context:
        context.prec = DIGITS
        first, last = (scaled(Decimal(bound), scaling) for bound in (lo, hi))
        return float(unscaled(first + Decimal(u) * (last - first), scaling))


def integer_to_unit(value: int, lo: int, hi: int, scaling: Scaling) -> float:
    with localcontext() as context:
        context.prec = DIGITS
        half = Decimal("0.5")
        first, last = (scaled(edge, scaling) for edge in (lo - half, hi + half))
        return float((scaled(Decimal(value), scaling) - first) / (last - first))


def integer_from_unit(u: float, lo: int, hi: int, scaling: Scaling) -> int:
    with localcontext() as context:
        context.prec = DIGITS
        half = Decimal("0.5")
        first, last = (scaled(edge, scaling) for edge in (lo - half, hi + half))
        x = unscaled(first + Decimal(u) * (last - first), scaling)
        return min(max(int((x + half).to_integral_value("ROUND_FLOOR")), lo), hi)


def integer_mass(value: int, lo: int, hi: int, scaling: Scaling) -> float:
    """The share of [lo - 1/2, hi + 1/2] that rounds to `value`, measured in s."""
    with localcontext() as context:
        context.prec = DIGITS
        half = Decimal("0.5")
        edges = (value - half, value + half, lo - half, hi + half)
        left, right, first, last = (scaled(edge, scaling) for edge in edges)
        return float((right - left) / (last - first))


def order_probability(masses: Sequence[float], order: Sequence[int]) -> float:
    """The chance that weighted draws with rejection of repeats meet items in this order."""
    probability, left = 1.0, sum(masses)
    for item in order:
        probability *= masses[item] / left
        left -= masses[item]
    return probability


def rejection_order(masses: Sequence[float], rng: np.random.Generator) -> tuple[int, ...]:
    """Draw with replacement, keep first meetings."""
    order: list[int] = []
    while len(order) < len(masses):
        item = int(rng.choice(len(masses), p=masses))
        if item not in order:
            order.append(item)
    return tuple(order)


def kolmogorov_smirnov(u: NDArray[np.float64]) -> float:
    """sqrt(n) times the largest gap to the uniform distribution; above 2 with chance 0.0007."""
    n = len(u)
    u = np.sort(u)
    steps = np.arange(n + 1) / n
    return math.sqrt(n) * float(max((steps[1:] - u).max(), (u - steps[:-1]).max()))


def chi_square_excess(counts: Mapping[Any, int], masses: Mapping[Any, float]) -> float:
    """Pearson's chi-square, centred and in standard deviations; above 5 is no accident."""
    assert counts.keys() <= masses.keys()
    n, freedom = sum(counts.values()), len(masses) - 1
    square = sum((counts.get(key, 0) - n * p) ** 2 / (n * p) for key, p in masses.items())
    return (square - freedom) / math.sqrt(2 * freedom)
