r"""Invert triangular matrices and covariances in place, by products of blocks.

A GPU reaches its speed in products of matrices; solvers for triangular systems and inverses are far
from it. So the inverse of a lower factor is put together from small ones,

.. math:: \begin{pmatrix} A & \\ B & C \end{pmatrix}^{-1} =
   \begin{pmatrix} A^{-1} & \\ -C^{-1} B A^{-1} & C^{-1} \end{pmatrix}

twice as large at each level, all blocks of one level at once. Zeros are left out by halves and
quarters: n³/3 flops are needed and 0.42n³ are spent. The inverse of the covariance, :math:`L^{-T}L^{-1}`,
takes n³/3, and a little more for the blocks on the diagonal.

Source: Higham (2002), "Accuracy and Stability of Numerical Algorithms", section 14.2 for the inverse of
a triangular matrix by blocks; the residual is as small as that of a solver.
"""

from tunesmith_core.gpu.device import Device, constants
from tunesmith_core.space.scaling import F64

QUARTERS = 4
"""A triangular block is multiplied in so many strips, which leave out most of its zeros."""

FEWEST = 256
"""Strips are no narrower than this: below, a product is not faster for being smaller."""

PANEL = 512
"""Rows of the covariance's inverse that are computed at a time."""


def invert_lower(device: Device, factor: F64) -> None:
    """Replace lower triangular matrices (s, n, n) by their inverses, zeros above the diagonals.

    Cost: 0.42n³ flops each, and (n/2)² numbers of scratch for all.
    """
    base = constants()["BASE"]
    batch, n, _ = factor.shape
    _fill_upper(device, factor, mirrored=False)  # whole blocks are multiplied
    device.launch("invert_blocks", (-(-n // base), batch), base, factor, n)
    size = base
    while size < n:
        _double(device, factor, size)
        size *= 2


def gram_of_inverse(device: Device, inverse: F64) -> None:
    """Replace inverse lower factors W (s, n, n) by the inverse covariances W^T W, all of them.

    Row by row from the first: a row of the result needs the rows of W from it on, and no others.

    Cost: n³/3 + n² `PANEL` flops each, and n `PANEL` numbers of scratch for each.
    """
    batch, n, _ = inverse.shape
    scratch = device.xp.empty((batch, min(PANEL, n), n))
    for first in range(0, n, PANEL):
        last = min(first + PANEL, n)
        panel = scratch[:, : last - first, :last]
        left = inverse[:, first:, first:last].transpose(0, 2, 1)
        device.multiply(left, inverse[:, first:, :last], panel)
        inverse[:, first:last, :last] = panel
    _fill_upper(device, inverse, mirrored=True)


def lower_product(device: Device, lower: F64, k: F64, out: F64) -> None:
    """Overwrite ``out`` (n, m) by the product of a lower triangular matrix (n, n) and k (n, m).

    Cost: 1.25n²m flops where n is large.
    """
    for first, last in _strips(lower.shape[0]):
        device.multiply(lower[first:last, :last], k[:last], out[first:last])


def _double(device: Device, factor: F64, size: int) -> None:
    """Join neighbouring blocks of ``size`` on the diagonal, which are inverted, to pairs."""
    batch, n, _ = factor.shape
    pairs, rest = divmod(n, 2 * size)
    apart = 2 * size * (n + 1)
    if batch == 1 and pairs > 1:  # all pairs at once
        _join(device, factor, 0, (size, size), (pairs, apart))
    else:
        for pair in range(pairs):
            _join(device, factor, pair * apart, (size, size), (batch, n * n))
    if rest > size:
        _join(device, factor, pairs * apart, (size, rest - size), (batch, n * n))


def _join(
    device: Device, factor: F64, start: int, heights: tuple[int, int], many: tuple[int, int]
) -> None:
    """Replace B by -C⁻¹ B A⁻¹ in blocks [A; B C].

    Args:
        device: Multiplies.
        factor: (s, n, n), contiguous.
        start: Where in it the first A begins.
        heights: Of A, and of B and C.
        many: How many such blocks there are, and how far apart.
    """
    n, (upper, lower) = factor.shape[2], heights
    count, apart = many
    flat = factor.reshape(-1)

    def block(row: int, column: int, height: int, width: int) -> F64:
        begin = flat[start + row * n + column :]
        return device.views(begin, (count, height, width), (apart, n, 1))

    a, b, c = (
        block(0, 0, upper, upper),
        block(upper, 0, lower, upper),
        block(upper, upper, lower, lower),
    )
    product = device.xp.empty((count, lower, upper))
    for first, last in _strips(upper):
        device.multiply(b[:, :, first:], a[:, first:, first:last], product[:, :, first:last])
    for first, last in _strips(lower):
        device.multiply(c[:, first:last, :last], product[:, :last], b[:, first:last], alpha=-1.0)


def _strips(n: int) -> list[tuple[int, int]]:
    width = max(FEWEST, -(-n // QUARTERS))
    return [(first, min(first + width, n)) for first in range(0, n, width)]


def _fill_upper(device: Device, matrix: F64, *, mirrored: bool) -> None:
    base = constants()["BASE"]
    batch, n, _ = matrix.shape
    tiles = -(-n // base)
    device.launch("fill_upper", (tiles * tiles, batch), 256, matrix, n, int(mirrored))
