r"""Predict the objective at new points, and take in observations one at a time.

With :math:`L^{-1}` the inverse of the lower Cholesky factor of C, :math:`v = L^{-1} k(X, z)`,

.. math:: \mu(z) = v^T L^{-1} y, \qquad s^2(z) = \sigma^2 (k(z, z) - v^T v)

A new observation adds a row to :math:`L^{-1}`: n² flops, where a new factorisation takes n³/3.

Source: Rasmussen & Williams (2006), algorithm 2.1 and eq. 2.25-2.26; Osborne 2010, appendix B, for
the row.
"""

import numpy as np

from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.covariance import CONSTANT
from tunesmith_core.gp.likelihood import (
    VARIANCE_RATE,
    VARIANCE_SHAPE,
    host,
    mismatches,
    scaled,
)
from tunesmith_core.gp.parameters import Hyperparameters, Layout
from tunesmith_core.gp.warping import warp, warping
from tunesmith_core.space.scaling import F64

PRIOR_VARIANCE = 1.0 + CONSTANT
MAX_JITTERS = 20
"""With noise ten times as large as many times, any covariance of finite points has a factor."""

SMALLEST_VARIANCE = 1e-12
"""In units of the signal's: rounding leaves no smaller variance meaningful."""


class Posterior:
    """Hold the factor of the observations' covariance under fixed hyperparameters.

    Args:
        backend: Who does the array work.
        layout: What each coordinate is.
        hyperparameters: Those of the covariance.
        x: (n, d) finite points.
        capacity: How many points there will be room for at first.

    Raises:
        FloatingPointError: The points are not finite.

    Attributes:
        backend: Who does the array work.
        layout: What each coordinate is.
        hyperparameters: Those of the covariance.
        mismatch: (d,) what differing values of each coordinate add to the squared distance.
        noise: Variance of the noise that C was factored with, in units of the signal's.
        n: How many points there are.
        u: (d, capacity) scaled points; the first n are there.
        inverse: (capacity, capacity) the factor's inverse; the first n rows and columns are.

    Cost: n³ flops.
    """

    def __init__(
        self,
        backend: Backend,
        layout: Layout,
        hyperparameters: Hyperparameters,
        x: F64,
        *,
        capacity: int,
    ) -> None:
        self.backend, self.layout, self.hyperparameters = backend, layout, hyperparameters
        self.mismatch = mismatches(layout, hyperparameters)
        self.noise = hyperparameters.noise
        xp, n = backend.xp, len(x)
        capacity = max(capacity, n + 1)
        self.n = n
        self.u = xp.zeros((layout.dimensions, capacity))
        self.inverse = xp.zeros((capacity, capacity))
        if n:
            self.u[:, :n] = xp.asarray(self.scaled(x))
            self.inverse[:n, :n] = self._factored()

    def scaled(self, x: F64) -> F64:
        """Give the scaled points (d, m) of points (m, d)."""
        hyperparameters = self.hyperparameters
        w = warp(x, hyperparameters.a, hyperparameters.b)
        return scaled(self.layout, x, w, hyperparameters)

    def append(self, x: F64) -> None:
        """Take in one more point (d,). Cost: 2n² flops."""
        if self.n == len(self.inverse):
            self._grow()
        n = self.n
        z = self.backend.xp.asarray(self.scaled(x[None, :]))
        self.u[:, n : n + 1] = z
        inverse = self.inverse
        if n:
            u = self.backend.xp.ascontiguousarray(self.u[:, :n])
            k = self.backend.correlations(u, z, self.mismatch)[:, 0]
            row = self.backend.product(inverse[:n, :n], k)
            pivot2 = PRIOR_VARIANCE + self.noise - float(row @ row)
            pivot = max(pivot2, self.noise * 0.5, SMALLEST_VARIANCE) ** 0.5
            inverse[n, :n] = -self.backend.product(row, inverse[:n, :n]) / pivot
        else:
            pivot = (PRIOR_VARIANCE + self.noise) ** 0.5
        inverse[n, n] = 1.0 / pivot
        self.n = n + 1

    def _factored(self) -> F64:
        """Factor C, with more noise where rounding left it singular."""
        backend, n = self.backend, self.n
        u = backend.xp.ascontiguousarray(self.u[:, :n])
        diagonal = backend.xp.arange(n)
        for _ in range(MAX_JITTERS):
            c = backend.correlations(u, u, self.mismatch)
            c[diagonal, diagonal] += self.noise
            factored = backend.inverse_factor(c)
            if factored is not None:
                return factored[0]
            self.noise = max(10.0 * self.noise, SMALLEST_VARIANCE)
        raise FloatingPointError(
            f"no Cholesky factor with noise up to {self.noise:g}: give finite points"
        )

    def truncate(self, n: int) -> None:
        """Forget all points but the first n."""
        self.n = n

    def _grow(self) -> None:
        xp, n = self.backend.xp, self.n
        room = n + max(16, n // 4)
        u, inverse = xp.zeros((self.u.shape[0], room)), xp.zeros((room, room))
        u[:, :n], inverse[:n, :n] = self.u[:, :n], self.inverse[:n, :n]
        self.u, self.inverse = u, inverse

    def condition(self, y: F64, *, variance: float | None = None) -> "Predictor":
        """Take the observations' values (n,) for granted. Cost: 4n² flops.

        What it gives is good until a point is appended or forgotten.

        Args:
            y: Warped objective.
            variance: Of the signal; estimated from the values when absent.
        """
        return Predictor(self, y, variance)


class Predictor:
    """Predict from values that were observed."""

    def __init__(self, posterior: Posterior, y: F64, variance: float | None = None) -> None:
        self.posterior = posterior
        backend = posterior.backend
        self._backend = backend
        xp, n = backend.xp, posterior.n
        self._u = xp.ascontiguousarray(posterior.u[:, :n])
        self._inverse = xp.ascontiguousarray(posterior.inverse[:n, :n])
        self._weights = self._inverse @ xp.asarray(y)
        self._alpha = self._inverse.T @ self._weights
        rate = VARIANCE_RATE + 0.5 * float(self._weights @ self._weights)
        self.variance = variance or rate / (0.5 * n + VARIANCE_SHAPE)

    def predict(self, x: F64) -> tuple[F64, F64]:
        """Predict at points (m, d): means and standard deviations, (m,) each.

        Cost: n²m + 3nmd flops and nm exponentials.
        """
        p = self.posterior
        xp = self._backend.xp
        k = self._backend.correlations(self._u, xp.asarray(p.scaled(x)), p.mismatch)
        mean = host(xp, self._alpha @ k)
        v = self._backend.triangular_product(self._inverse, k)
        spread = PRIOR_VARIANCE - host(xp, self._backend.column_squares(v))
        return mean, np.sqrt(self.variance * np.maximum(spread, SMALLEST_VARIANCE))

    def host_arrays(self) -> tuple[F64, F64, F64, F64]:
        """Give scaled points (d, n), mismatches (d,), inverse factor (n, n) and weights (n,).

        Cost: on a GPU, n² + nd numbers are copied; none on the CPU.
        """
        xp, posterior = self._backend.xp, self.posterior
        return (
            host(xp, self._u),
            posterior.mismatch,
            host(xp, xp.ascontiguousarray(self._inverse)),
            host(xp, self._alpha),
        )

    def fitted(self, y: F64) -> F64:
        """Predict means (n,) at the observations themselves, whose values are y.

        (K - gI) alpha = y - g alpha. Cost: n flops.
        """
        fitted: F64 = y - self.posterior.noise * host(self._backend.xp, self._alpha)
        return fitted

    def left_out(self) -> F64:
        """Give how likely each observed value (n,) is if only the others are known: ln p, (n,).

        Source: Rasmussen & Williams (2006), eq. 5.10-5.12. Cost: 2n² flops.
        """
        xp = self._backend.xp
        precision = host(xp, self._backend.column_squares(self._inverse))
        error = host(xp, self._alpha) / precision
        variance = self.variance / precision
        return -0.5 * (np.log(2.0 * np.pi * variance) + error * error / variance)

    def mean(self, x: F64) -> F64:
        """Predict means (m,) at points (m, d).

        Cost: 3nmd flops and nm exponentials.
        """
        p = self.posterior
        xp = self._backend.xp
        k = self._backend.correlations(self._u, xp.asarray(p.scaled(x)), p.mismatch)
        return host(xp, self._alpha @ k)

    def predict_with_slopes(self, x: F64) -> tuple[F64, F64, F64, F64]:
        """Predict at points (m, d), with derivatives by the points.

        Returns:
            Means (m,), standard deviations (m,), and the derivatives of both, (m, d) each;
            0 in categorical coordinates.

        Cost: 4n²m + 7nmd flops and nm exponentials.
        """
        p, values = self.posterior, self.posterior.hyperparameters
        xp = self._backend.xp
        warped = warping(x, values.a, values.b)
        z = xp.asarray(scaled(p.layout, x, warped.w(), values))
        backend = self._backend
        k = backend.correlations(self._u, z, p.mismatch)
        mean = host(xp, self._alpha @ k)
        v = backend.triangular_product(self._inverse, k)
        spread = np.maximum(PRIOR_VARIANCE - host(xp, backend.column_squares(v)), SMALLEST_VARIANCE)
        deviation = np.sqrt(self.variance * spread)
        of_mean, of_variance = backend.candidate_sums(
            self._u,
            z,
            p.mismatch,
            alpha=self._alpha,
            back=backend.product(self._inverse.T, v),
        )
        by_mean, by_variance = 2.0 * host(xp, of_mean).T, -4.0 * host(xp, of_variance).T
        chain = np.where(p.layout.categorical, 0.0, warped.by_x() / values.ls)
        by_deviation = by_variance * (0.5 * self.variance / deviation)[:, None]
        return mean, deviation, by_mean * chain, by_deviation * chain
