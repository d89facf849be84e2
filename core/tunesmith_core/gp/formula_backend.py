"""Do the surrogate's array work by the formulas of `covariance`, over any array module.

With numpy it is the reference that the kernels are held against; with CuPy it runs on a GPU, where
`gpu.backend` takes less memory and time. Not for speed: every term of a formula is an array of its own.
"""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType

import numpy as np

from tunesmith_core.gp.backends import PairSums
from tunesmith_core.gp.covariance import (
    CONSTANT,
    candidate_sums,
    matern52,
    matern52_slope,
    pull,
    squared_distances,
    weights,
)
from tunesmith_core.space.scaling import F64


class FormulaBackend:
    """Implement `backends.Backend` over numpy or CuPy.

    Nothing holds more than a few (n, m) or (n, n) arrays at a time: sums over coordinates go
    coordinate by coordinate.

    Args:
        xp: The array module, `numpy` or `cupy`.
    """

    climbs_in_step = True
    is_large_scale = False

    def __init__(self, xp: ModuleType) -> None:
        self.xp = xp
        self.name = f"formulas over {xp.__name__}"
        self._loud: Callable[[], AbstractContextManager[object]] = nullcontext
        if xp is np:
            linalg = importlib.import_module("scipy.linalg")
        else:
            linalg = importlib.import_module("cupyx.scipy.linalg")
            # CuPy keeps quiet about a failed factorisation unless it is asked to raise.
            errstate = importlib.import_module("cupyx").errstate
            self._loud = lambda: errstate(linalg="raise")
        self._solve_triangular: Callable[..., F64] = linalg.solve_triangular

    def active(self) -> AbstractContextManager[None]:
        """Do nothing: there is nothing to choose."""
        return nullcontext()

    def free(self) -> None:
        """Do nothing: nothing is kept."""

    def correlations(self, u: F64, z: F64, mismatch: F64) -> F64:
        """Compute k between scaled points (d, n) and (d, m): (n, m).

        Cost: 3nmd flops and nm exponentials.
        """
        return matern52(self.xp, squared_distances(self.xp, u, z, mismatch), CONSTANT)

    def covariance(self, u: F64, mismatch: F64, noise: float) -> tuple[F64, F64]:
        """Compute the observations' covariance, and its derivative; see `backends.Backend`."""
        xp = self.xp
        r2 = squared_distances(xp, u, u, mismatch)
        c = matern52(xp, r2, CONSTANT) + noise * xp.eye(r2.shape[0])
        return c, matern52_slope(xp, r2)

    def pair_sums(
        self,
        u: F64,
        mismatch: F64,
        precision: F64,
        slope: F64 | None,
        *,
        alpha: F64,
        scale: float,
    ) -> PairSums:
        """Sum up what the likelihood's gradient needs; see `backends.Backend`.

        Cost: 4n²d flops, four (n, n) arrays at a time.
        """
        if slope is None:  # it is this backend's own
            raise AssertionError
        w = weights(self.xp, precision, alpha, scale)
        return PairSums(float(self.xp.trace(w)), *self.pull(u, mismatch, w * slope))

    def pull(self, u: F64, mismatch: F64, q: F64) -> tuple[F64, F64]:
        """Sum up weighted differences over all pairs: (d,) and (d, n)."""
        return pull(self.xp, u, mismatch, q)

    def candidate_sums(
        self, u: F64, z: F64, mismatch: F64, *, alpha: F64, back: F64
    ) -> tuple[F64, F64]:
        """Sum up what the gradients at new points need; see `backends.Backend`."""
        slope = matern52_slope(self.xp, squared_distances(self.xp, u, z, mismatch))
        return candidate_sums(self.xp, u, z, alpha[:, None] * slope, back * slope)

    def inverse_factor(self, k: F64) -> tuple[F64, float] | None:
        """Factor a covariance; see `backends.Backend`.

        Cost: n³/3 flops for the factor, and as many for its inverse.
        """
        factor = self._factor(k)
        if factor is None:
            return None
        identity = self.xp.eye(len(factor))
        inverse = self._solve_triangular(factor, identity, lower=True, overwrite_b=True)
        return inverse, self._log_det(factor)

    def triangular_product(self, inverse: F64, k: F64) -> F64:
        """Multiply a lower triangular matrix (n, n) with k (n, m). Cost: 2n²m flops."""
        product: F64 = inverse @ k
        return product

    def product(self, a: F64, b: F64) -> F64:
        """Multiply as ``a @ b`` does."""
        product: F64 = a @ b
        return product

    def column_squares(self, v: F64) -> F64:
        """Sum up the squares in each column of v (n, m): (m,). Cost: 2nm flops."""
        squares: F64 = self.xp.sum(v * v, axis=0)
        return squares

    def precision(self, k: F64) -> tuple[F64, float] | None:
        """Invert a covariance: the whole inverse (n, n) and log det K; None as `inverse_factor`.

        Cost: 3n³ flops.
        """
        factored = self.inverse_factor(k)
        if factored is None:
            return None
        inverse, log_det = factored
        precision: F64 = inverse.T @ inverse
        return precision, log_det

    def _factor(self, k: F64) -> F64 | None:
        """Give the lower Cholesky factor (n, n), or None if there is none."""
        try:
            with self._loud():
                factor: F64 = self.xp.linalg.cholesky(k)
        except np.linalg.LinAlgError:
            return None
        # Infinities and NaNs go through some versions of LAPACK and cuSOLVER without a word.
        return factor if bool(self.xp.isfinite(self.xp.diagonal(factor)).all()) else None

    def _log_det(self, factor: F64) -> float:
        return 2.0 * float(self.xp.log(self.xp.diagonal(factor)).sum())
