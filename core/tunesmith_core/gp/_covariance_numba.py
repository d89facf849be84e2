"""Kernels of the covariance; `covariance` has the formulas, `tests/core/naive.py` the oracles.

Points come coordinate by coordinate, (d, n), so that the innermost loops run over neighbours in
memory and compile to vector instructions. Nothing here checks anything.
"""

import math

from tunesmith_core.jit import bits_of, float_of, kernel, reassociating_kernel
from tunesmith_core.space.scaling import F64

_SHIFTER = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to a whole number, in the low bits
_LOG2_E = 1.4426950408889634
_LN2_HI, _LN2_LO = 0.6931471803691238, 1.9082149292705877e-10


@kernel
def exp_negative(x: float) -> float:
    """Compute exp(x) for x <= 0, in vector instructions; below -708 it stays at exp(-708).

    exp(x) = 2^k exp(r) with |r| <= ln(2)/2, and exp(r) by its series up to r^13/13!: relative
    error below 4 eps.
    """
    x = max(x, -708.0)
    shifted = x * _LOG2_E + _SHIFTER
    k = shifted - _SHIFTER
    r = x - k * _LN2_HI - k * _LN2_LO
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * float_of((bits_of(shifted) + 1023) << 52)


@kernel
def squared_distances(u: F64, z: F64, mismatch: F64, out: F64) -> None:
    """Fill ``out`` with the squared distances between two sets of scaled points.

    Args:
        u: (d, n) scaled points, C-contiguous.
        z: (d, m) scaled points, C-contiguous.
        mismatch: (d,) what two different values of a categorical coordinate add; 0 for a numeric
            coordinate, which adds the square of the difference.
        out: (n, m), overwritten.

    Cost: 3nmd flops.
    """
    d, n = u.shape
    m = z.shape[1]
    for i in range(n):
        row = out[i]
        for c in range(m):
            row[c] = 0.0
        for j in range(d):
            other = z[j]
            here, penalty = u[j, i], mismatch[j]
            if penalty > 0.0:
                for c in range(m):
                    row[c] += penalty if other[c] != here else 0.0
            else:
                for c in range(m):
                    difference = other[c] - here
                    row[c] += difference * difference


@kernel
def matern52(r2: F64, constant: float) -> None:
    r"""Replace squared distances by correlations, in place.

    :math:`k = (1 + a + a^2/3)\,e^{-a} + c`, with :math:`a = \sqrt{5 r^2}`.

    Args:
        r2: (n, m) squared distances, overwritten by k.
        constant: c, the prior variance of the mean in units of the signal's.

    Cost: nm exponentials.
    Accuracy: relative error at most 2(1 + a) eps for a <= 700.
    Source: Rasmussen & Williams (2006), eq. 4.17. Oracle: ``naive.matern52``.
    """
    for i in range(r2.shape[0]):
        row = r2[i]
        for c in range(r2.shape[1]):
            a = math.sqrt(5.0 * row[c])
            row[c] = (1.0 + a + a * a / 3.0) * exp_negative(-a) + constant


@kernel
def matern52_slope(r2: F64, constant: float, slope: F64) -> None:
    r"""Replace squared distances by correlations, and fill in the slopes.

    :math:`\partial k/\partial r^2 = -\tfrac{5}{6}(1 + a)\,e^{-a}`.

    Args:
        r2: (n, m) squared distances, overwritten by k as `matern52` has it.
        constant: c.
        slope: (n, m), overwritten by the derivative of k by the squared distance, <= 0.
    """
    for i in range(r2.shape[0]):
        row, down = r2[i], slope[i]
        for c in range(r2.shape[1]):
            a = math.sqrt(5.0 * row[c])
            decay = exp_negative(-a)
            row[c] = (1.0 + a + a * a / 3.0) * decay + constant
            down[c] = -(5.0 / 6.0) * (1.0 + a) * decay


@reassociating_kernel
def pull(u: F64, mismatch: F64, q: F64, spread: F64, moment: F64) -> None:
    r"""Sum up what the likelihood's gradient needs of the pairs of points.

    Args:
        u: (d, n) scaled points.
        mismatch: (d,) as in `squared_distances`.
        q: (n, n) symmetric weights of the pairs.
        spread: (d,), overwritten by :math:`\sum_{ik} q_{ik}\,\delta_{jik}`, where delta is what
            coordinate j adds to the squared distance.
        moment: (d, n), overwritten by :math:`\sum_k q_{ik}(u_{ji} - u_{jk})`; 0 for a categorical
            coordinate.

    Cost: 4n²d flops. Sums are reordered: relative error n eps of the sum of the absolute terms.
    """
    d, n = u.shape
    for j in range(d):
        line, penalty = u[j], mismatch[j]
        total = 0.0
        for i in range(n):
            here, weights = line[i], q[i]
            first = 0.0
            second = 0.0
            if penalty > 0.0:
                for k in range(n):
                    second += weights[k] * (penalty if line[k] != here else 0.0)
            else:
                for k in range(n):
                    difference = here - line[k]
                    first += weights[k] * difference
                    second += weights[k] * difference * difference
            moment[j, i] = first
            total += second
        spread[j] = total
