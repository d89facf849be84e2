"""Choose who does the heavy array work: compiled kernels on the CPU, or formulas over any module.

The seam between orchestration and arithmetic. Everything above a `Backend` is written once; below
it are loops over arrays, and the linear algebra of an array module.
"""

from types import ModuleType
from typing import Protocol

from tunesmith_core.space.scaling import F64


class Backend(Protocol):
    """Do the array work of the surrogate, on arrays of one module.

    Attributes:
        xp: The array module; what the methods take and give are its arrays, float64.
    """

    xp: ModuleType

    def correlations(self, u: F64, z: F64, mismatch: F64) -> F64:
        """Compute k between scaled points (d, n) and (d, m): (n, m).

        Cost: 3nmd flops and nm exponentials.
        """
        ...

    def correlations_and_slopes(self, u: F64, z: F64, mismatch: F64) -> tuple[F64, F64]:
        """Compute k and its derivative by the squared distance: (n, m) each.

        Cost: 3nmd flops and nm exponentials.
        """
        ...

    def pull(self, u: F64, mismatch: F64, q: F64) -> tuple[F64, F64]:
        """Sum up what the likelihood's gradient needs: (d,) and (d, n).

        Cost: 4n²d flops.
        """
        ...

    def inverse_factor(self, k: F64) -> tuple[F64, float] | None:
        """Factor a covariance K = L L^T, overwriting it.

        Returns:
            The lower triangular inverse of L, (n, n), and log det K; None if K is not positive
            definite.

        Cost: 2n³/3 flops.
        """
        ...

    def precision(self, k: F64) -> tuple[F64, float] | None:
        """Invert a covariance, overwriting it.

        Returns:
            The inverse, (n, n), and log det K; None if K is not positive definite.

        Cost: n³ flops.
        """
        ...

    def triangular_product(self, inverse: F64, k: F64) -> F64:
        """Multiply a lower triangular matrix (n, n) with k (n, m), which may be overwritten.

        Cost: n²m flops.
        """
        ...
