"""Kernels of the search for the largest expected improvement, point by point.

`log_ei` has the formulas and `gp.posterior` the predictions that are meant; the tests hold these
kernels against both.
"""

import math

import numpy as np

from tunesmith_core.acquisition.climb import (
    ARMIJO,
    FIRST_STEP,
    LONGEST_STEP,
    QUIET_STEPS,
    SHORTER,
    SHORTEST,
    TIMID,
    TINY,
)
from tunesmith_core.acquisition.log_ei import LEVELS, LOG_SQRT_2PI, TAIL
from tunesmith_core.gp._covariance_numba import exp_negative
from tunesmith_core.gp.covariance import CONSTANT
from tunesmith_core.gp.posterior import PRIOR_VARIANCE, SMALLEST_VARIANCE
from tunesmith_core.gp.warping import EDGE
from tunesmith_core.jit import kernel, reassociating_kernel
from tunesmith_core.space.scaling import F64

_SQRT_HALF = math.sqrt(0.5)


@kernel
def log_h(t: float) -> tuple[float, float]:
    """Compute ln(φ(t) + t Φ(t)) and its derivative, as `log_ei.log_h` does."""
    if t >= TAIL:
        below = 0.5 * math.erfc(-t * _SQRT_HALF)
        h = math.exp(-0.5 * t * t - LOG_SQRT_2PI) + t * below
        return math.log(h), below / h
    x = -t
    fraction = 0.0
    for level in range(LEVELS, 1, -1):
        fraction = level / (x + fraction)
    q = 1.0 / (x + fraction)
    return math.log(q / (x + q)) - 0.5 * x * x - LOG_SQRT_2PI, 1.0 / q


@kernel
def log_news(spread: float, noise: float) -> tuple[float, float]:
    """Compute ln(1 - (1 + spread/noise)^(-1/2)) and its derivative by spread.

    As `log_ei.log_news` has it; 0 and 0 without noise.
    """
    if noise <= 0.0:
        return 0.0, 0.0
    ratio = spread / noise
    left = math.exp(-0.5 * math.log1p(ratio))
    news = -math.expm1(-0.5 * math.log1p(ratio))
    return math.log(news), 0.5 * left / ((1.0 + ratio) * noise * news)


@kernel
def scores(mean: F64, deviation: F64, best: float, noise: float, out: F64) -> None:
    """Fill ``out`` (m,) with ln AEI below ``best``, from means and deviations (m,).

    Cost: 40m flops, and m exponentials.
    """
    for c in range(len(mean)):
        s = deviation[c]
        out[c] = math.log(s) + log_h((best - mean[c]) / s)[0] + log_news(s * s, noise)[0]


@reassociating_kernel
def score(
    x: F64,
    movable: F64,
    exponents: F64,
    u: F64,
    mismatch: F64,
    inverse: F64,
    alpha: F64,
    variance: float,
    best: float,
    noise: float,
    work: F64,
    gradient: F64,
) -> float:
    """Compute ln AEI at one point, and its gradient.

    Args:
        x: (d,) point.
        movable: (d,) 1 where the gradient is wanted, 0 elsewhere.
        exponents: (3, d) length-scales and the warping's a and b.
        u: (d, n) scaled observed points.
        mismatch: (d,) as in `gp._covariance_numba.squared_distances`.
        inverse: (n, n) lower triangular inverse factor of the covariance.
        alpha: (n,) the covariance's inverse times the observed values.
        variance: Of the signal.
        best: What to improve upon.
        noise: Variance of the noise, in the squared unit of ``best``.
        work: (4, n) scratch.
        gradient: (d,), overwritten.

    Cost: 2n² + 8nd flops and n exponentials; one pass over ``inverse``.
    """
    d, n = u.shape
    k, slope, back = work[0], work[1], work[2]
    for i in range(n):
        k[i] = 0.0
        back[i] = 0.0
    for j in range(d):
        line, penalty = u[j], mismatch[j]
        if penalty > 0.0:
            here = x[j]
            for i in range(n):
                k[i] += penalty if line[i] != here else 0.0
            gradient[j] = here
        else:
            inner = min(max(x[j], EDGE), 1.0 - EDGE)
            power = math.exp(exponents[1, j] * math.log(inner))
            left = math.exp(exponents[2, j] * math.log1p(-power))
            here = (1.0 - left) / exponents[0, j]
            for i in range(n):
                difference = here - line[i]
                k[i] += difference * difference
            gradient[j] = here
    mean = 0.0
    for i in range(n):
        a = math.sqrt(5.0 * k[i])
        decay = exp_negative(-a)
        k[i] = (1.0 + a + a * a / 3.0) * decay + CONSTANT
        slope[i] = -(5.0 / 6.0) * (1.0 + a) * decay
        mean += alpha[i] * k[i]
    spread = PRIOR_VARIANCE
    for i in range(n):
        row = inverse[i]
        v = 0.0
        for c in range(i + 1):
            v += row[c] * k[c]
        spread -= v * v
        for c in range(i + 1):
            back[c] += v * row[c]
    spread = max(spread, SMALLEST_VARIANCE)
    deviation = math.sqrt(variance * spread)
    t = (best - mean) / deviation
    value, steepness = log_h(t)
    over_mean = -steepness / deviation
    over_deviation = (1.0 - t * steepness) / deviation
    # How the value changes with each correlation's squared distance.
    news, by_spread = log_news(variance * spread, noise)
    over_variance = -variance * (over_deviation / deviation + 2.0 * by_spread)
    for i in range(n):
        slope[i] *= over_mean * alpha[i] + over_variance * back[i]
    for j in range(d):
        if movable[j] == 0.0:
            gradient[j] = 0.0
            continue
        line, here = u[j], gradient[j]
        total = 0.0
        for i in range(n):
            total += slope[i] * (here - line[i])
        inner = min(max(x[j], EDGE), 1.0 - EDGE)
        a, b = exponents[1, j], exponents[2, j]
        log_inner = math.log(inner)
        power = math.exp(a * log_inner)
        by_x = a * b * math.exp((a - 1.0) * log_inner + (b - 1.0) * math.log1p(-power))
        gradient[j] = 2.0 * total * by_x / exponents[0, j]
    return math.log(deviation) + value + news


@kernel
def forget(h: F64, gradient: F64, length: float) -> None:
    """Make ``h`` (d, d) a multiple of the identity that turns the gradient (d,) into ``length``."""
    square = 0.0
    for value in gradient:
        square += value * value
    scale = length / max(math.sqrt(square), TINY)
    for i in range(len(gradient)):
        for j in range(len(gradient)):
            h[i, j] = scale if i == j else 0.0


@kernel
def learn(h: F64, here: F64, there: F64, gradient: F64, fresh: F64, work: F64) -> None:
    """Update the inverse curvature ``h`` (d, d) of a function to be maximised by one step.

    Args:
        h: Symmetric and positive definite, overwritten.
        here: (d,) where the step began.
        there: (d,) where it ended.
        gradient: (d,) at its beginning.
        fresh: (d,) at its end.
        work: (d,) scratch.

    Steps along which the function is not concave teach nothing.
    Source: Nocedal & Wright (2006), eq. 6.17.

    Cost: 6d² flops.
    """
    d = len(here)
    curvature = 0.0
    for j in range(d):
        curvature += (there[j] - here[j]) * (gradient[j] - fresh[j])
    if not curvature > TINY:
        return
    quadratic = 0.0
    for i in range(d):
        total = 0.0
        for j in range(d):
            total += h[i, j] * (gradient[j] - fresh[j])
        work[i] = total
        quadratic += total * (gradient[i] - fresh[i])
    rho = 1.0 / curvature
    factor = rho + rho * rho * quadratic
    for i in range(d):
        moved = there[i] - here[i]
        for j in range(d):
            other = there[j] - here[j]
            h[i, j] += factor * moved * other - rho * (work[i] * other + moved * work[j])


@kernel
def direct(h: F64, here: F64, gradient: F64, direction: F64) -> float:
    """Fill ``direction`` (d,) with the way to go in the unit cube, and give its longest part.

    Coordinates at an edge that want to leave the cube stay. Where ``h`` does not lead uphill,
    the gradient does.

    Cost: 2d² flops.
    """
    d = len(here)
    rise, longest = 0.0, 0.0
    for i in range(d):
        direction[i] = 0.0
        if (here[i] <= 0.0 and gradient[i] < 0.0) or (here[i] >= 1.0 and gradient[i] > 0.0):
            continue
        for j in range(d):
            held = (here[j] <= 0.0 and gradient[j] < 0.0) or (here[j] >= 1.0 and gradient[j] > 0.0)
            if not held:
                direction[i] += h[i, j] * gradient[j]
        rise += direction[i] * gradient[i]
        longest = max(longest, abs(direction[i]))
    if longest > 0.0 and not rise > 0.0:
        longest = 0.0
        for i in range(d):
            direction[i] = TIMID * gradient[i]
            longest = max(longest, abs(direction[i]))
    return longest


@kernel
def climb(
    x: F64,
    movable: F64,
    exponents: F64,
    u: F64,
    mismatch: F64,
    inverse: F64,
    alpha: F64,
    variance: float,
    best: float,
    noise: float,
    rounds: int,
    tolerance: float,
) -> None:
    """Climb from each of the points x (s, d) to a maximum of ln AEI in the unit cube, in place.

    Projected BFGS with steps that are shortened until they gain.

    Args:
        x: (s, d) starts, overwritten by the summits.
        movable: As in `score`, like all that follow up to ``noise``.
        exponents: (3, d).
        u: (d, n).
        mismatch: (d,).
        inverse: (n, n).
        alpha: (n,).
        variance: Of the signal.
        best: What to improve upon.
        noise: Its variance.
        rounds: At most so many evaluations for each start.
        tolerance: Stop after two steps that gain less.

    Cost: at most ``s * rounds`` times that of `score`.
    """
    s, d = x.shape
    observed = np.empty((4, u.shape[1]))
    h = np.empty((d, d))
    here, there = np.empty(d), np.empty(d)
    gradient, fresh = np.empty(d), np.empty(d)
    direction, work = np.empty(d), np.empty(d)
    for start in range(s):
        here[:] = x[start]
        value = score(
            here,
            movable,
            exponents,
            u,
            mismatch,
            inverse,
            alpha,
            variance,
            best,
            noise,
            observed,
            gradient,
        )
        forget(h, gradient, FIRST_STEP)
        step, quiet, ignorant = 1.0, 0, True
        for _ in range(rounds):
            longest = direct(h, here, gradient, direction)
            if longest == 0.0:
                break
            shrunk = step * min(1.0, LONGEST_STEP / longest)
            expected = 0.0
            for j in range(d):
                there[j] = min(max(here[j] + shrunk * direction[j], 0.0), 1.0)
                expected += (there[j] - here[j]) * gradient[j]
            reached = score(
                there,
                movable,
                exponents,
                u,
                mismatch,
                inverse,
                alpha,
                variance,
                best,
                noise,
                observed,
                fresh,
            )
            gain = reached - value
            if not (gain > 0.0 and gain >= ARMIJO * expected):
                step *= SHORTER
                if step < SHORTEST:
                    if ignorant:
                        break
                    # What was learned of the curvature misleads.
                    forget(h, gradient, FIRST_STEP * SHORTER)
                    step, ignorant = 1.0, True
                continue
            learn(h, here, there, gradient, fresh, work)
            here[:] = there
            gradient[:] = fresh
            value, step, ignorant = reached, 1.0, False
            quiet = quiet + 1 if gain < tolerance else 0
            if quiet == QUIET_STEPS:
                break
        x[start] = here
