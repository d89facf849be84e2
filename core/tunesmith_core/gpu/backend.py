"""Do the surrogate's array work on a GPU: kernels for what goes pair by pair, products for the rest.

What a likelihood of n observations takes: one (n, n) matrix, which is in turn covariance, factor, inverse
factor, inverse and weights of the pairs, and a quarter of one as scratch. Everything is double: of single the
factor of a covariance with little noise has nothing left.
"""

from contextlib import AbstractContextManager
from types import ModuleType

import numpy as np

from tunesmith_core.gp.backends import PairSums
from tunesmith_core.gp.covariance import CONSTANT
from tunesmith_core.gpu import blocked
from tunesmith_core.gpu.device import Device, DeviceError, constants
from tunesmith_core.space.scaling import F64

_RESIDUAL = 1e-9
"""Of an inverse: some hundred times what rounding leaves of a small covariance with much noise."""


class GpuBackend:
    """Implement `gp.backends.Backend` over a device.

    The same calls give the same bits on the same device: nothing is added up in an order that depends on
    timing.

    Args:
        device: Holds the arrays.

    Attributes:
        device: The same.
    """

    climbs_in_step = True
    is_large_scale = True

    def __init__(self, device: Device) -> None:
        self.device = device
        self._of = constants()
        self.xp: ModuleType = device.xp
        self.name = device.name

    def active(self) -> AbstractContextManager[None]:
        """Make its device this thread's within a ``with`` block."""
        return self.device.active()

    def free(self) -> None:
        """Give memory that is kept in store back, for other programs."""
        self.device.free()

    def check(self) -> None:
        """Compute something small, to know that all libraries are there and right.

        Raises:
            DeviceError: They are not; and whatever a library may raise.
        """
        xp, n = self.xp, 33
        u = xp.asarray(np.linspace(0.0, 1.0, n)[None, :].copy())
        c, _ = self.covariance(u, np.zeros(1), 0.5)
        expected = c.copy()
        inverted = self.precision(c)
        residual = inverted and abs(inverted[0] @ expected - xp.eye(n)).max()
        if residual is None or not float(residual) < _RESIDUAL:
            raise DeviceError(f"{self.name} computes wrongly: a residual of {residual}")

    def correlations(self, u: F64, z: F64, mismatch: F64) -> F64:
        """Compute k between scaled points (d, n) and (d, m): (n, m)."""
        return self._correlations(u, z, mismatch, noise=0.0)

    def covariance(self, u: F64, mismatch: F64, noise: float) -> tuple[F64, None]:
        """Compute the observations' covariance; slopes are computed again when they are needed."""
        return self._correlations(u, u, mismatch, noise=noise), None

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

        Cost: 7n²d flops and n² exponentials; 2nd numbers of scratch for each thousand observations.
        """
        del slope
        xp, (d, n) = self.xp, u.shape
        trace = scale * float(alpha @ alpha) - float(xp.trace(precision))
        penalties = xp.asarray(mismatch)
        tiles = _tiles(n, self._of["COLUMNS"]), _tiles(n, self._of["STRIP"])
        self._launch("weigh", tiles, u, penalties, alpha, precision, n, d, float(scale))
        segments = _tiles(n, self._of["SEGMENT"])
        moments, spreads = xp.empty((segments, d, n)), xp.empty((segments, d, n))
        self._launch("pull", (tiles[0], segments), u, penalties, precision, moments, spreads, n, d)
        return PairSums(trace, spreads.sum(axis=(0, 2)), moments.sum(axis=0))

    def candidate_sums(
        self, u: F64, z: F64, mismatch: F64, *, alpha: F64, back: F64
    ) -> tuple[F64, F64]:
        """Sum up what the gradients at new points need; see `backends.Backend`."""
        xp, (d, n), m = self.xp, u.shape, z.shape[1]
        by_mean, by_variance = xp.zeros((d, m)), xp.zeros((d, m))
        if n and m:
            self._launch(
                "pull_candidates",
                (m, _tiles(d, self._of["GROUP"])),
                u,
                z,
                xp.asarray(mismatch),
                alpha,
                back,
                by_mean,
                by_variance,
                n,
                m,
                d,
            )
        return by_mean, by_variance

    def inverse_factor(self, k: F64) -> tuple[F64, float] | None:
        """Invert the factor of a covariance in its place; see `backends.Backend`.

        Cost: 0.75n³ flops.
        """
        log_det = self._factor(k)
        if log_det is None:
            return None
        blocked.invert_lower(self.device, k)
        return k, log_det

    def precision(self, k: F64) -> tuple[F64, float] | None:
        """Invert a covariance in its place; see `backends.Backend`.

        Cost: 1.15n³ flops, of which n³ are needed.
        """
        factored = self.inverse_factor(k)
        if factored is not None:
            blocked.gram_of_inverse(self.device, k)
        return factored

    def triangular_product(self, inverse: F64, k: F64) -> F64:
        """Multiply a lower triangular matrix (n, n) with k (n, m). Cost: 1.25n²m flops."""
        product: F64 = self.xp.empty(k.shape)
        blocked.lower_product(self.device, inverse, k, product)
        return product

    def product(self, a: F64, b: F64) -> F64:
        """Multiply as ``a @ b`` does, without copying views."""
        if a.ndim == 1:
            return self.product(b.T, a)
        right = b[:, None] if b.ndim == 1 else b
        out: F64 = self.xp.empty((a.shape[0], right.shape[1]))
        self.device.multiply(a, right, out)
        return out[:, 0] if b.ndim == 1 else out

    def column_squares(self, v: F64) -> F64:
        """Sum up the squares in each column of v (n, m): (m,). Cost: 2nm flops."""
        squares: F64 = (v * v).sum(axis=0)
        return squares

    def _correlations(self, u: F64, z: F64, mismatch: F64, *, noise: float) -> F64:
        (d, n), m = u.shape, z.shape[1]
        out: F64 = self.xp.empty((n, m))
        if n and m:
            tiles = _tiles(m, self._of["COLUMNS"]), _tiles(n, self._of["STRIP"])
            penalties = self.xp.asarray(mismatch)
            self._launch("correlations", tiles, u, z, penalties, out, n, m, d, CONSTANT, noise)
        return out

    def _factor(self, k: F64) -> float | None:
        """Replace a covariance by its factor, and give log det K; None if there is none."""
        xp = self.xp
        if not self.device.cholesky(k):
            return None
        pivots = xp.diagonal(k)
        log_det = 2.0 * float(xp.log(pivots).sum())
        # NaN goes through cuSOLVER without a word.
        return log_det if abs(log_det) < float("inf") else None

    def _launch(self, kernel: str, blocks: tuple[int, int], *arguments: F64 | float) -> None:
        self.device.launch(kernel, blocks, self._of["COLUMNS"], *arguments)


def _tiles(count: int, size: int) -> int:
    return -(-count // size)
