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


def warp(x: F64, a: F64, b: F64) -> F64:
    """Warp coordinates x (n, d) by a and b (d,).

    Cost: 2nd powers.
    """
    w: F64 = -np.expm1(b * _log_rest(a * np.log(np.clip(x, EDGE, 1 - EDGE))))
    return w


class Warping(NamedTuple):
    """Hold what a warping and its derivatives have in common; each of them is computed when it is asked for.

    Attributes:
        a: (d,) exponents.
        b: The same.
        log_x: (n, d) ln x.
        log_rest: (n, d) ln(1 - x^a).
        left: (n, d) what is left to 1.
    """

    a: F64
    b: F64
    log_x: F64
    log_rest: F64
    left: F64

    def w(self) -> F64:
        """Give the warped coordinates (n, d)."""
        w: F64 = 1 - self.left
        return w

    def by_x(self) -> F64:
        """Derive by x: (n, d). Cost: 2nd powers."""
        by_x: F64 = self._by_t() * self.a * np.exp((self.a - 1) * self.log_x)
        return by_x

    def by_log_a(self) -> F64:
        """Derive by log a: (n, d). Cost: 2nd powers."""
        log_t = self.a * self.log_x
        by_log_a: F64 = self._by_t() * np.exp(log_t) * log_t
        return by_log_a

    def by_log_b(self) -> F64:
        """Derive by log b: (n, d)."""
        by_log_b: F64 = -self.left * self.b * self.log_rest
        return by_log_b

    def _by_t(self) -> F64:
        by_t: F64 = self.b * np.exp((self.b - 1) * self.log_rest)
        return by_t


def warping(x: F64, a: F64, b: F64) -> Warping:
    """Begin to warp coordinates x (n, d) by a and b (d,).

    Cost: nd powers and 2nd logarithms.
    """
    log_x = np.log(np.clip(x, EDGE, 1 - EDGE))
    log_rest = _log_rest(a * log_x)
    return Warping(a, b, log_x, log_rest, left=np.exp(b * log_rest))


def _log_rest(log_t: F64) -> F64:
    """Compute ln(1 - t) from ln t < 0, to a few eps on both sides of t = 1/2."""
    rest: F64 = np.where(log_t < -LN_2, np.log1p(-np.exp(log_t)), np.log(-np.expm1(log_t)))
    return rest
