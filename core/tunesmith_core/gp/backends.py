"""Choose who does the heavy array work: compiled kernels on the CPU or a GPU, or plain formulas.

The seam between orchestration and arithmetic. Everything above a `Backend` is written once; below
it are loops over arrays, and the linear algebra of an array module.
"""

from contextlib import AbstractContextManager
from types import ModuleType
from typing import NamedTuple, Protocol

from tunesmith_core.space.scaling import F64


class PairSums(NamedTuple):
    """Hold sums over pairs of observations, with the weights W of `likelihood`.

    Attributes:
        trace: Of W.
        spread: (d,) sum of W_ik times the derivative of the correlation, times what coordinate j adds
            to the squared distance of i and k.
        moment: (d, n) for each i the sum over k of W_ik times the derivative, times u_ji - u_jk; 0 in
            categorical coordinates.
    """

    trace: float
    spread: F64
    moment: F64


class Backend(Protocol):
    """Do the array work of the surrogate, on arrays of one module.

    Attributes:
        xp: The array module; what the methods take and give are its arrays, float64. Mismatches
            are numpy's.
        name: What does the work, for people: ``cpu``, or ``gpu:0`` and the card's name.
        climbs_in_step: Whether points climb the acquisition all together, by predictions of this backend;
            otherwise one after the other in compiled loops, on what is copied to the CPU.
        is_large_scale: Whether it is for ten thousand observations, all of them seen; otherwise hyperparameters
            are fitted, and the acquisition is searched, with some.
    """

    xp: ModuleType
    name: str
    climbs_in_step: bool
    is_large_scale: bool

    def active(self) -> AbstractContextManager[None]:
        """Make ready for use by this thread within a ``with`` block."""
        ...

    def free(self) -> None:
        """Give memory that is kept in store back, for other programs."""
        ...

    def correlations(self, u: F64, z: F64, mismatch: F64) -> F64:
        """Compute k between scaled points (d, n) and (d, m): (n, m).

        Cost: 3nmd flops and nm exponentials.
        """
        ...

    def covariance(self, u: F64, mismatch: F64, noise: float) -> tuple[F64, F64 | None]:
        """Compute the observations' covariance, for their likelihood.

        Args:
            u: (d, n) scaled points.
            mismatch: (d,) what differing values of each coordinate add to the squared distance.
            noise: Added to the diagonal.

        Returns:
            The covariance (n, n), and what `pair_sums` is to be given of it: the derivative by the
            squared distance, or None where that is computed again.

        Cost: 3n²d flops and n² exponentials.
        """
        ...

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
        """Sum up what the likelihood's gradient needs of the pairs of observations.

        Args:
            u: (d, n) scaled points.
            mismatch: (d,) as in `covariance`.
            precision: (n, n) the covariance's inverse, overwritten.
            slope: What `covariance` gave.
            alpha: (n,) the precision times the observed values.
            scale: Of the outer product of alpha with itself.

        Cost: 4n²d flops.
        """
        ...

    def candidate_sums(
        self, u: F64, z: F64, mismatch: F64, *, alpha: F64, back: F64
    ) -> tuple[F64, F64]:
        """Sum up what the gradients of mean and variance at scaled points z (d, m) need.

        Args:
            u: (d, n) scaled observed points.
            z: (d, m) scaled points.
            mismatch: (d,) as in `covariance`.
            alpha: (n,) weights of the mean.
            back: (n, m) weights of the variance.

        Returns:
            For each coordinate and point the sums over i of (z_jc - u_ji) and alpha_i, or back_ic, times
            the derivative of the correlation of i and c: (d, m) each. Meaningless in categorical
            coordinates.

        Cost: 7nmd flops and nm exponentials.
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

    def product(self, a: F64, b: F64) -> F64:
        """Multiply two matrices, or a matrix and a vector, as ``a @ b`` does; views need no copy.

        Cost: two flops for each pair of factors.
        """
        ...

    def column_squares(self, v: F64) -> F64:
        """Sum up the squares in each column of v (n, m): (m,). Cost: 2nm flops."""
        ...
