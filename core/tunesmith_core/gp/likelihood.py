r"""Compute how well hyperparameters explain the observations, with the gradient.

The signal's variance has an inverse-gamma prior and is integrated out, which leaves Student's t:

.. math:: \ln p(y \mid \theta) = -\tfrac12 \ln\det C - \nu \ln(\beta + \tfrac12 y^T C^{-1} y) + const

with :math:`C = k(X, X) + g I`, :math:`\nu = n/2 + \alpha`; the constant mean is integrated out by
the constant of the covariance. The gradient follows from
:math:`\partial \ln p = \tfrac12 \sum_{ik} W_{ik}\,\partial C_{ik}`,
:math:`W = \gamma\,C^{-1}y\,(C^{-1}y)^T - C^{-1}`,
:math:`\gamma = \nu / (\beta + \tfrac12 y^T C^{-1} y)`.

Source: Rasmussen & Williams (2006), eq. 5.9, and Santner, Williams & Notz (2003), section 4.1.
"""

from dataclasses import dataclass

import numpy as np

from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.parameters import Hyperparameters, Layout, unpack
from tunesmith_core.gp.priors import Prior
from tunesmith_core.gp.warping import warping
from tunesmith_core.space.scaling import F64

VARIANCE_SHAPE, VARIANCE_RATE = 1.0, 0.5
"""alpha and beta: worth two observations that say that the variance is 1/2."""

INFEASIBLE = 1e10
"""What a covariance that cannot be factored counts as."""


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """Hold observations whose hyperparameters are looked for.

    Attributes:
        backend: Who does the array work.
        layout: What each coordinate is.
        prior: What is believed beforehand.
        x: (n, d) points in the unit cube.
        y: (n,) warped objective.
    """

    backend: Backend
    layout: Layout
    prior: Prior
    x: F64
    y: F64

    def negative_log_posterior(self, theta: F64) -> tuple[float, F64]:
        """Compute -ln p(y | theta) p(theta), up to a constant, and its gradient (size,).

        Cost: about n³ + 4n²d flops and n² exponentials.
        """
        layout, xp = self.layout, self.backend.xp
        values = unpack(layout, theta)
        warped = warping(self.x, values.a, values.b)
        u = scaled(layout, self.x, warped.w(), values)
        mismatch = mismatches(layout, values)
        placed = xp.asarray(u)
        c, slope = self.backend.covariance(placed, mismatch, values.noise)
        n = len(self.y)
        inverted = self.backend.precision(c)
        if inverted is None:
            return INFEASIBLE, np.zeros(layout.size)
        precision, log_det = inverted
        y = xp.asarray(self.y)
        alpha = precision @ y
        # Here and not before: a GPU goes on inverting meanwhile.
        by_log_a, by_log_b = warped.by_log_a(), warped.by_log_b()
        rate = VARIANCE_RATE + 0.5 * float(y @ alpha)
        shape = 0.5 * n + VARIANCE_SHAPE
        sums = self.backend.pair_sums(
            placed, mismatch, precision, slope, alpha=alpha, scale=shape / rate
        )
        gradient = np.empty(layout.size)
        d, k = layout.dimensions, len(layout.warped)
        gradient[:d] = -host(xp, sums.spread)
        # moment sums over one end of each pair; the other end doubles it.
        pulled = 2.0 * host(xp, sums.moment)[layout.warped] / values.ls[layout.warped, None]
        gradient[d : d + k] = (pulled * by_log_a.T[layout.warped]).sum(axis=1)
        gradient[d + k : d + 2 * k] = (pulled * by_log_b.T[layout.warped]).sum(axis=1)
        gradient[-1] = 0.5 * values.noise * sums.trace
        prior, prior_gradient = self.prior.log_density(theta)
        value = 0.5 * log_det + shape * np.log(rate) - prior
        return float(value), -(gradient + prior_gradient)


def scaled(layout: Layout, x: F64, w: F64, values: Hyperparameters) -> F64:
    """Give the scaled points (d, n) of warped coordinates (n, d); categorical ones stay."""
    columns = np.where(layout.categorical, x, w / values.ls)
    return np.ascontiguousarray(columns.T)


def mismatches(layout: Layout, values: Hyperparameters) -> F64:
    """Give what two different values of each coordinate add to the squared distance (d,)."""
    return np.where(layout.categorical, values.ls**-2.0, 0.0)


def host(xp: object, array: F64) -> F64:
    """Bring an array to numpy."""
    return array if xp is np else array.get()  # type: ignore[attr-defined]
