"""Slow, obvious versions of what the core computes fast, and the statistics that compare them."""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any, TypeAlias

import mpmath
import numpy as np
from numpy.typing import NDArray

from tunesmith_core.space import Scaling

DIGITS = 60

F64: TypeAlias = NDArray[np.float64]


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


CONSTANT = 1.0
EDGE = 1e-7


def exp(x: float) -> mpmath.mpf:
    with mpmath.workdps(DIGITS):
        return mpmath.exp(mpmath.mpf(x))


def squared_distance(x: F64, z: F64, mismatch: F64) -> float:
    """Sum up what each coordinate adds: a square, or a penalty for two different values."""
    terms = [
        (penalty if a != b else 0.0) if penalty > 0 else (a - b) ** 2
        for a, b, penalty in zip(x, z, mismatch, strict=True)
    ]
    return math.fsum(terms)


def squared_distances(u: F64, z: F64, mismatch: F64) -> F64:
    """All pairs of the columns of u (d, n) and z (d, m): (n, m)."""
    return np.array([[squared_distance(a, b, mismatch) for b in z.T] for a in u.T])


def matern52(r2: float, constant: float = CONSTANT) -> mpmath.mpf:
    with mpmath.workdps(DIGITS):
        a = mpmath.sqrt(5 * mpmath.mpf(r2))
        return (1 + a + a * a / 3) * mpmath.exp(-a) + mpmath.mpf(constant)


def matern52_slope(r2: float) -> mpmath.mpf:
    """The derivative by r², from that by a, as d a / d r² = 5 / 2a."""
    with mpmath.workdps(DIGITS):
        if r2 == 0:
            return -mpmath.mpf(5) / 6
        a = mpmath.sqrt(5 * mpmath.mpf(r2))
        of_polynomial = 1 + 2 * a / 3
        of_exponential = -(1 + a + a * a / 3)
        return (of_polynomial + of_exponential) * mpmath.exp(-a) * 5 / (2 * a)


def correlations(u: F64, z: F64, mismatch: F64, constant: float = CONSTANT) -> F64:
    """The covariance of the columns of u (d, n) and z (d, m), in units of the signal's."""
    r2 = squared_distances(u, z, mismatch)
    return np.array([[float(matern52(entry, constant)) for entry in row] for row in r2])


def pull(u: F64, mismatch: F64, q: F64) -> tuple[F64, F64]:
    """What the likelihood's gradient needs of the pairs, pair by pair: (d,) and (d, n)."""
    d, n = u.shape
    spread, moment = np.zeros(d), np.zeros((d, n))
    for j in range(d):
        penalty = mismatch[[j]]
        added = [
            [q[i, k] * squared_distance(u[j, [i]], u[j, [k]], penalty) for k in range(n)]
            for i in range(n)
        ]
        spread[j] = math.fsum(term for row in added for term in row)
        if not mismatch[j] > 0:
            for i in range(n):
                moment[j, i] = math.fsum(q[i, k] * (u[j, i] - u[j, k]) for k in range(n))
    return spread, moment


def kumaraswamy(x: float, a: float, b: float) -> mpmath.mpf:
    """The warping, of a coordinate that is kept off the edges."""
    with mpmath.workdps(DIGITS):
        inner = min(max(mpmath.mpf(x), mpmath.mpf(EDGE)), mpmath.mpf(1 - EDGE))
        return 1 - (1 - inner ** mpmath.mpf(a)) ** mpmath.mpf(b)


def log_h(t: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """ln(φ(t) + t Φ(t)) and its derivative, Φ/h."""
    with mpmath.workdps(DIGITS):
        s = mpmath.mpf(t)
        below = mpmath.ncdf(s)
        h = mpmath.npdf(s) + s * below
        return mpmath.log(h), below / h


def log_ei(mean: float, deviation: float, best: float) -> float:
    """ln of the expected improvement below `best`: (best - mean) Φ(t) + deviation φ(t)."""
    with mpmath.workdps(DIGITS):
        s, gap = mpmath.mpf(deviation), mpmath.mpf(best) - mpmath.mpf(mean)
        return float(mpmath.log(gap * mpmath.ncdf(gap / s) + s * mpmath.npdf(gap / s)))


def log_news(spread: float, noise: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """ln(1 - (1 + spread/noise)^(-1/2)) and its derivative by spread."""
    with mpmath.workdps(DIGITS):
        s, n = mpmath.mpf(spread), mpmath.mpf(noise)
        news = 1 - mpmath.sqrt(n / (n + s))
        return mpmath.log(news), mpmath.sqrt(n / (n + s)) / (2 * (n + s) * news)


def scores(mean: F64, deviation: F64, best: float) -> F64:
    return np.array([log_ei(m, s, best) for m, s in zip(mean, deviation, strict=True)])


def score(
    z: F64, u: F64, mismatch: F64, *, precision: F64, y: F64, variance: float, best: float
) -> float:
    """ln EI at one scaled point z (d,), from the inverse of the covariance: Rasmussen, eq. 2.25."""
    k = correlations(u, z[:, None], mismatch)[:, 0]
    mean = float(k @ precision @ y)
    spread = 1.0 + CONSTANT - float(k @ precision @ k)
    return log_ei(mean, math.sqrt(variance * spread), best)


def summit(function: Callable[[F64], F64], *, steps: int) -> tuple[float, float]:
    """Where a function of one coordinate is highest in [0, 1], and how high: look everywhere."""
    x = np.linspace(0, 1, steps)
    heights = function(x[:, None])
    return float(x[heights.argmax()]), float(heights.max())


def central_difference(function: Callable[[F64], float], x: F64, step: float) -> F64:
    """The gradient of a function at x (d,), from two values for each coordinate."""
    gradient = np.empty(len(x))
    for j in range(len(x)):
        up, down = x.copy(), x.copy()
        up[j] += step
        down[j] -= step
        gradient[j] = (function(up) - function(down)) / (up[j] - down[j])
    return gradient


def uphill(h: F64, here: F64, gradient: F64, *, timid: float) -> F64:
    """The way that BFGS goes in the unit cube: nowhere in coordinates that would leave it."""
    held = ((here <= 0) & (gradient < 0)) | ((here >= 1) & (gradient > 0))
    direction = np.where(held, 0, h @ np.where(held, 0, gradient))
    leads_up = direction @ gradient > 0 or not direction.any()
    return direction if leads_up else timid * gradient


def bfgs(h: F64, here: F64, there: F64, gradient: F64, fresh: F64) -> F64:
    """The inverse curvature after a step, as Nocedal & Wright (2006), eq. 6.17 have it."""
    s, y = there - here, gradient - fresh
    if s @ y <= 0:
        return h
    rho = 1 / (s @ y)
    left = np.eye(len(s)) - rho * np.outer(s, y)
    return left @ h @ left.T + rho * np.outer(s, s)


def ignorance(gradient: F64, length: float) -> F64:
    """A multiple of the identity that makes a gradient so long."""
    return np.eye(len(gradient)) * length / float(np.linalg.norm(gradient))
