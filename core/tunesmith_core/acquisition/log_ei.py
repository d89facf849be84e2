r"""Compute the logarithm of the expected improvement, without underflow.

.. math:: \ln EI = \ln s + \ln h(t), \quad h(t) = \varphi(t) + t\,\Phi(t), \quad t = (y^* - \mu)/s

h cancels for negative t. Down to -4 the direct form loses under two digits. Below, with
:math:`M(x) = \Phi(-x)/\varphi(x)` Mills' ratio by Laplace's continued fraction,

.. math:: h(-x)/\varphi(x) = 1 - x M(x) = M(x)\,q(x), \qquad
   q(x) = \cfrac{1}{x + \cfrac{2}{x + \cfrac{3}{x + \dots}}}, \quad M(x) = \frac{1}{x + q(x)}

which adds positive terms only. 40 levels are exact to a few eps from x = 4 on.

With noise, what was measured nearby says most of what another measurement would. The augmented
expected improvement takes that off:

.. math:: AEI = EI\,\bigl(1 - (1 + s^2/\sigma_\epsilon^2)^{-1/2}\bigr)

Relative error of h below 1e-13 for all t; ln h is finite down to t = -1e150.
Sources: Huang et al. 2006, "Global Optimization of Stochastic Black-Box Systems via Sequential
Kriging Meta-Models", eq. 12, for AEI; Ament et al. 2023, "Unexpected Improvements to Expected Improvement for Bayesian
Optimization", eq. 9; Abramowitz & Stegun 26.2.14 for the fraction.
"""

import numpy as np
from scipy.special import ndtr

from tunesmith_core.space.scaling import F64

TAIL = -4.0
LEVELS = 40
LOG_SQRT_2PI = 0.9189385332046727


def log_h(t: F64) -> tuple[F64, F64]:
    """Compute ln h(t) and its derivative, (m,) each.

    Cost: m exponentials; 40 divisions more for each t below -4.
    """
    near = np.maximum(t, TAIL)
    density = np.exp(-0.5 * near * near - LOG_SQRT_2PI)
    below = ndtr(near)
    h = density + near * below
    value, slope = np.log(h), below / h
    far = t < TAIL
    if far.any():
        x = -t[far]
        fraction = np.zeros_like(x)
        for level in range(LEVELS, 1, -1):
            fraction = level / (x + fraction)
        q = 1.0 / (x + fraction)
        mills = 1.0 / (x + q)
        value[far] = np.log(mills) + np.log(q) - 0.5 * x * x - LOG_SQRT_2PI
        slope[far] = 1.0 / q
    return value, slope


def log_ei(mean: F64, deviation: F64, best: float) -> F64:
    """Compute ln EI below ``best`` from means and deviations (m,): (m,).

    Cost: that of `log_h`.
    """
    return np.log(deviation) + log_h((best - mean) / deviation)[0]


def log_ei_with_slopes(mean: F64, deviation: F64, best: float) -> tuple[F64, F64, F64]:
    """Compute ln EI and its derivatives by mean and deviation, (m,) each.

    Cost: that of `log_h`.
    """
    t = (best - mean) / deviation
    value, slope = log_h(t)
    return (
        np.log(deviation) + value,
        -slope / deviation,
        (1.0 - t * slope) / deviation,
    )


def log_news(spread: F64, noise: float) -> tuple[F64, F64]:
    """Compute how much of an evaluation is news, as a logarithm, and its derivative by spread.

    Args:
        spread: (m,) variance of what is predicted, without the noise, > 0.
        noise: Variance of the noise; 0 for none, and then all is news.

    Returns:
        ln(1 - (1 + spread/noise)^(-1/2)), (m,), and its derivative, (m,).

    Cost: 2m exponentials.
    """
    if noise <= 0.0:
        return np.zeros_like(spread), np.zeros_like(spread)
    ratio = spread / noise
    news = -np.expm1(-0.5 * np.log1p(ratio))
    return np.log(news), 0.5 * (1.0 + ratio) ** -1.5 / (noise * news)
