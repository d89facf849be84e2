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

_FILLERS = 256  # threads, four entries of a tile for each


def invert_lower(device: Device, factor: F64) -> None:
    """Replace a lower triangular matrix (n, n) by its inverse, with zeros above the diagonal.

    Cost: 0.42n³ flops, and (n/2)² numbers of scratch.
    """
    base, n = constants()["BASE"], len(factor)
    _fill_upper(device, factor, mirrored=False)  # whole blocks are multiplied
    device.launch("invert_blocks", (-(-n // base), 1), base, factor, n)
    size = base
    while size < n:
        pairs, rest = divmod(n, 2 * size)
        if pairs:
            _join(device, factor, (0, pairs), (size, size))
        if rest > size:
            _join(device, factor, (pairs, 1), (size, rest - size))
        size *= 2


def gram_of_inverse(device: Device, inverse: F64) -> None:
    """Replace an inverse lower factor W (n, n) by the inverse covariance W^T W, all of it.

    Row by row from the first: a row of the result needs the rows of W from it on, and no others.

    Cost: n³/3 + n² `PANEL` flops, and n `PANEL` numbers of scratch.
    """
    n = len(inverse)
    scratch = device.xp.empty((min(PANEL, n), n))
    for first in range(0, n, PANEL):
        last = min(first + PANEL, n)
        panel = scratch[: last - first, :last]
        device.multiply(inverse[first:, first:last].T, inverse[first:, :last], panel)
        inverse[first:last, :last] = panel
    _fill_upper(device, inverse, mirrored=True)


def lower_product(device: Device, lower: F64, k: F64, out: F64) -> None:
    """Overwrite ``out`` (n, m) by the product of a lower triangular matrix (n, n) and k (n, m).

    Cost: 1.25n²m flops where n is large.
    """
    for first, last in _strips(lower.shape[0]):
        device.multiply(lower[first:last, :last], k[:last], out[first:last])


def _join(device: Device, factor: F64, which: tuple[int, int], heights: tuple[int, int]) -> None:
    """Replace B by -C⁻¹ B A⁻¹ in blocks [A; B C] on the diagonal, A and C being inverses already.

    Args:
        device: Multiplies.
        factor: (n, n), contiguous.
        which: The first of the blocks, counted in blocks from the corner, and how many.
        heights: Of A, and of B and C.
    """
    n, (first, count), (upper, lower) = len(factor), which, heights
    apart = 2 * upper * (n + 1)
    flat = factor.reshape(-1)

    def block(row: int, column: int, height: int, width: int) -> F64:
        begin = flat[first * apart + row * n + column :]
        return device.views(begin, (count, height, width), (apart, n, 1))

    a, b, c = (
        block(0, 0, upper, upper),
        block(upper, 0, lower, upper),
        block(upper, upper, lower, lower),
    )
    product = device.xp.empty((count, lower, upper))
    for begin, end in _strips(upper):
        device.multiply(b[:, :, begin:], a[:, begin:, begin:end], product[:, :, begin:end])
    for begin, end in _strips(lower):
        device.multiply(c[:, begin:end, :end], product[:, :end], b[:, begin:end], alpha=-1.0)


def _strips(n: int) -> list[tuple[int, int]]:
    width = max(FEWEST, -(-n // QUARTERS))
    return [(first, min(first + width, n)) for first in range(0, n, width)]


def _fill_upper(device: Device, matrix: F64, *, mirrored: bool) -> None:
    n = len(matrix)
    tiles = -(-n // constants()["BASE"])
    device.launch("fill_upper", (tiles * tiles, 1), _FILLERS, matrix, n, int(mirrored))
