"""Do the surrogate's array work in compiled kernels and LAPACK, on one core."""

import math
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType

import numpy as np
from scipy.linalg import blas, lapack

from tunesmith_core.gp import _covariance_numba as kernels
from tunesmith_core.gp.backends import PairSums
from tunesmith_core.gp.covariance import CONSTANT, candidate_sums
from tunesmith_core.space.scaling import F64


class NumbaBackend:
    """Implement `backends.Backend` over numpy."""

    xp: ModuleType = np
    name = "cpu"
    climbs_in_step = False
    is_large_scale = False

    def active(self) -> AbstractContextManager[None]:
        """Do nothing: there is nothing to choose."""
        return nullcontext()

    def free(self) -> None:
        """Do nothing: nothing is kept."""

    def correlations(self, u: F64, z: F64, mismatch: F64) -> F64:
        """Compute k between scaled points (d, n) and (d, m): (n, m)."""
        k = np.empty((u.shape[1], z.shape[1]))
        kernels.squared_distances(u, z, mismatch, k)
        kernels.matern52(k, CONSTANT)
        return k

    def covariance(self, u: F64, mismatch: F64, noise: float) -> tuple[F64, F64]:
        """Compute the observations' covariance, and its derivative; see `backends.Backend`."""
        c, slope = self._correlations_and_slopes(u, u, mismatch)
        c[np.diag_indices_from(c)] += noise
        return c, slope

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
        """Sum up what the likelihood's gradient needs; see `backends.Backend`."""
        if slope is None:  # it is this backend's own
            raise AssertionError
        w = precision
        w *= -1.0
        w += scale * np.multiply.outer(alpha, alpha)
        trace = float(np.trace(w))
        w *= slope
        spread, moment = self.pull(u, mismatch, w)
        return PairSums(trace, spread, moment)

    def pull(self, u: F64, mismatch: F64, q: F64) -> tuple[F64, F64]:
        """Sum up weighted differences over all pairs: (d,) and (d, n)."""
        spread, moment = np.empty(u.shape[0]), np.empty(u.shape)
        kernels.pull(u, mismatch, q, spread, moment)
        return spread, moment

    def candidate_sums(
        self, u: F64, z: F64, mismatch: F64, *, alpha: F64, back: F64
    ) -> tuple[F64, F64]:
        """Sum up what the gradients at new points need; see `backends.Backend`."""
        _, slope = self._correlations_and_slopes(u, z, mismatch)
        return candidate_sums(np, u, z, alpha[:, None] * slope, back * slope)

    def inverse_factor(self, k: F64) -> tuple[F64, float] | None:
        """Factor a covariance, overwriting it; see `backends.Backend`."""
        # LAPACK reads columns: the upper factor of the transpose is our lower one.
        factor, info = lapack.dpotrf(k.T, lower=0, overwrite_a=1, clean=1)
        log_det = _log_det(factor)
        if info or not math.isfinite(log_det):  # LAPACK lets NaN pass
            return None
        inverse, info = lapack.dtrtri(factor, lower=0, overwrite_c=1)
        return (inverse.T, log_det) if not info else None

    def triangular_product(self, inverse: F64, k: F64) -> F64:
        """Multiply a lower triangular matrix (n, n) with k (n, m), which is overwritten."""
        product: F64 = blas.dtrmm(1.0, inverse.T, k.T, side=1, lower=0, overwrite_b=1).T
        return product

    def product(self, a: F64, b: F64) -> F64:
        """Multiply as ``a @ b`` does."""
        product: F64 = a @ b
        return product

    def column_squares(self, v: F64) -> F64:
        """Sum up the squares in each column of v (n, m): (m,)."""
        squares: F64 = np.einsum("ij,ij->j", v, v)
        return squares

    def precision(self, k: F64) -> tuple[F64, float] | None:
        """Invert a covariance, overwriting it; see `backends.Backend`."""
        factor, info = lapack.dpotrf(k.T, lower=0, overwrite_a=1, clean=1)
        log_det = _log_det(factor)
        if info or not math.isfinite(log_det):
            return None
        half, info = lapack.dpotri(factor, lower=0, overwrite_c=1)
        if info:
            return None
        whole = half + half.T
        whole[np.diag_indices_from(whole)] *= 0.5
        return np.ascontiguousarray(whole), log_det

    def _correlations_and_slopes(self, u: F64, z: F64, mismatch: F64) -> tuple[F64, F64]:
        """Compute k and its derivative by the squared distance: (n, m) each."""
        k = np.empty((u.shape[1], z.shape[1]))
        slope = np.empty_like(k)
        kernels.squared_distances(u, z, mismatch, k)
        kernels.matern52_slope(k, CONSTANT, slope)
        return k, slope


def _log_det(factor: F64) -> float:
    """Give ln det of a matrix from its Cholesky factor; not finite if it has none."""
    pivots = np.diagonal(factor)
    return 2.0 * float(np.log(pivots).sum()) if (pivots > 0).all() else math.nan
