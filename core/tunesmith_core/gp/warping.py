r"""Warp coordinates of the unit cube so that the objective is about equally wavy everywhere.

The Kumaraswamy distribution function for each numeric coordinate,

.. math:: w(x) = 1 - (1 - x^a)^b

a bijection of [0, 1] that is the identity for a = b = 1, and close to a logarithm or its mirror
image for other values: so the scaling of a range need not be known beforehand.

Source: Snoek et al. 2014, "Input Warping for Bayesian Optimization of Non-stationary Functions".
"""

from typing import NamedTuple

import numpy as np

from tunesmith_core.space.scaling import F64

LN_2 = 0.6931471805599453
EDGE = 1e-7
"""Coordinates are kept this far from 0 and 1, where the slope may be infinite."""


class Warped(NamedTuple):
    """Hold warped coordinates and their derivatives, each (n, d)."""

    w: F64
    by_x: F64
    by_log_a: F64
    by_log_b: F64


def warp(x: F64, a: F64, b: F64) -> F64:
    """Warp coordinates x (n, d) by a and b (d,).

    Cost: 2nd powers.
    """
    w: F64 = -np.expm1(b * _log_rest(a * np.log(np.clip(x, EDGE, 1 - EDGE))))
    return w


def warp_with_slopes(x: F64, a: F64, b: F64) -> Warped:
    """Warp coordinates x (n, d) by a and b (d,), with derivatives by x, log a and log b.

    Cost: 2nd powers and 2nd logarithms.
    """
    log_x = np.log(np.clip(x, EDGE, 1 - EDGE))
    t = np.exp(a * log_x)
    log_rest = _log_rest(a * log_x)
    left = np.exp(b * log_rest)  # 1 - w
    by_t = b * np.exp((b - 1) * log_rest)
    by_log_a = by_t * t * (a * log_x)
    by_x = by_t * a * np.exp((a - 1) * log_x)
    return Warped(w=1 - left, by_x=by_x, by_log_a=by_log_a, by_log_b=-left * b * log_rest)


def _log_rest(log_t: F64) -> F64:
    """Compute ln(1 - t) from ln t < 0, to a few eps on both sides of t = 1/2."""
    rest: F64 = np.where(log_t < -LN_2, np.log1p(-np.exp(log_t)), np.log(-np.expm1(log_t)))
    return rest
