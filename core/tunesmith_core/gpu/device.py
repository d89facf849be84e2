"""Say what the surrogate needs of a device beyond an array module: a seam as narrow as it can be.

`cupy_device` is a GPU. The tests have another one, which runs the same kernels, compiled as C, on
numpy's arrays; all above this seam is so tested without a GPU.
"""

import re
from contextlib import AbstractContextManager
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Protocol, TypeAlias

from tunesmith_core.space.scaling import F64

SOURCES = ("kernels.cu", "together.cu")

Argument: TypeAlias = F64 | int | float
"""What kernels are given: arrays, ``int`` as C has it, ``double``."""


class DeviceError(Exception):
    """Say that a device can't be used, or not any more; the CPU can.

    The message says why, and what to do about it.
    """


class Device(Protocol):
    """Hold arrays, launch kernels, and do the linear algebra that has no place in kernels.

    Attributes:
        xp: The array module of its arrays.
        name: What it is called in logs, such as ``gpu:0 NVIDIA H200``.
    """

    xp: ModuleType
    name: str

    def active(self) -> AbstractContextManager[None]:
        """Make it this thread's device within a ``with`` block; arrays are made and used there alone."""
        ...

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, *arguments: Argument
    ) -> None:
        """Have the blocks of one of the kernels in ``kernels.cu`` computed.

        Args:
            kernel: Its name.
            blocks: How many, along x and y; at most 2**31 - 1 and 65535.
            threads: Of each block, at most 1024.
            arguments: As the kernel has them; arrays are contiguous.
        """
        ...

    def multiply(self, a: F64, b: F64, out: F64, *, alpha: float = 1.0, beta: float = 0.0) -> None:
        """Overwrite ``out`` by alpha a b + beta out, without copying anything.

        Args:
            a: (m, k) or, for a batch, (s, m, k); like the others a view with neighbours along one
                of its last two axes.
            b: (k, n) or (s, k, n).
            out: (m, n) or (s, m, n), neighbours along its last axis; shares no memory with the others.
            alpha: Factor of the product.
            beta: Factor of what ``out`` was; with 0 it may be anything, NaN too.

        Cost: 2mnk flops for each of the batch.
        """
        ...

    def cholesky(self, k: F64) -> bool:
        """Replace what is on and below the diagonal of a covariance by its Cholesky factor.

        Args:
            k: (n, n), contiguous; what is above the diagonal is undefined afterwards.

        Returns:
            Whether it is positive definite, as far as it is noticed.

        Cost: n³/3 flops.
        """
        ...

    def factor_each(self, k: F64) -> F64:
        """Replace each of several covariances by its Cholesky factor, as `cholesky` does one.

        Args:
            k: (s, n, n), contiguous.

        Returns:
            (s,) on the device, 0 where one is positive definite, as far as it is noticed; nobody has
            waited for it.

        Cost: n³/3 flops for each.
        """
        ...

    def invert_each(self, factor: F64, out: F64) -> None:
        """Overwrite ``out`` by the inverses of several lower triangular matrices, zeros above the diagonal.

        Args:
            factor: (s, n, n), contiguous; what is above the diagonals is not looked at.
            out: (s, n, n), contiguous.

        Cost: n³ flops for each.
        """
        ...

    def views(self, array: F64, shape: tuple[int, ...], strides: tuple[int, ...]) -> F64:
        """Look at an array's memory in another way.

        Args:
            array: Any; the view begins where it begins.
            shape: Of the view.
            strides: Of the view, in numbers of float64.
        """
        ...

    def free(self) -> None:
        """Give memory that is kept in store back, for other programs."""
        ...


@cache
def source() -> str:
    """Give the text of the kernels: those of one model, and those of many small ones."""
    folder = files("tunesmith_core.gpu")
    texts = [folder.joinpath(name).read_text(encoding="utf-8") for name in SOURCES]
    return "\n".join(texts)


@cache
def constants() -> dict[str, int]:
    """Give the numbers that the kernels divide work by, by name: one place has them."""
    found = re.findall(r"^#define ([A-Z]+) (\d+)$", source(), flags=re.MULTILINE)
    return {name: int(number) for name, number in found}
