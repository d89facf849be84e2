"""A device that runs the GPU's kernels on the CPU: the same source, compiled as C, block by block."""

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy.linalg import solve_triangular

from tunesmith_core.gpu.device import Argument, source
from tunesmith_core.space.scaling import F64

COMPILER = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or ""
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
BLOCK_LIMITS = (2**31 - 1, 65535)


def has_gpu() -> bool:
    """Tell whether CuPy is installed and finds a GPU."""
    if importlib.util.find_spec("cupy") is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a CUDA that it does not find
        return bool(importlib.import_module("cupy").is_available())


HAS_GPU = has_gpu()


@functools.cache
def library(*, backwards: bool) -> ctypes.CDLL:
    """Compile the kernels as C; backwards: work items come in the opposite order."""
    with tempfile.TemporaryDirectory() as folder:
        text, built = Path(folder, "kernels.c"), Path(folder, "kernels.so")
        text.write_text(source(), encoding="utf-8")
        order = ["-DBACKWARDS"] if backwards else []
        subprocess.run([COMPILER, *FLAGS, *order, text, "-o", built, "-lm"], check=True)
        return ctypes.CDLL(str(built))


class HostDevice:
    """Implement `gpu.device.Device` over numpy."""

    xp: ModuleType = np
    name = "kernels compiled as C"

    def __init__(self, *, backwards: bool = False) -> None:
        self._library = library(backwards=backwards)
        self.launched: list[str] = []

    def active(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, *arguments: Argument
    ) -> None:
        assert 0 < threads <= 1024
        assert all(0 < count <= limit for count, limit in zip(blocks, BLOCK_LIMITS, strict=True))
        self.launched.append(kernel)
        function = self._library[kernel]
        given = [_as_c(each) for each in arguments]
        block_x = ctypes.c_int.in_dll(self._library, "block_x")
        block_y = ctypes.c_int.in_dll(self._library, "block_y")
        for block_y.value in range(blocks[1]):
            for block_x.value in range(blocks[0]):
                function(*given)

    def multiply(self, a: F64, b: F64, out: F64, *, alpha: float = 1.0, beta: float = 0.0) -> None:
        for each in (a, b):
            assert each.itemsize in each.strides[-2:] or 1 in each.shape[-2:]
        assert out.strides[-1] == out.itemsize or out.shape[-1] == 1
        assert not np.shares_memory(a, out)
        assert not np.shares_memory(b, out)
        out[...] = alpha * (a @ b) + (beta * out if beta else 0.0)

    def cholesky(self, k: F64) -> bool:
        return self._factor(k)

    def _factor(self, k: F64) -> bool:
        assert k.flags.c_contiguous
        try:
            factor = np.linalg.cholesky(k)
        except np.linalg.LinAlgError:
            return False
        # As cuSOLVER does, leave something above the diagonal.
        k[...] = factor + np.triu(np.full(k.shape[-2:], 7.0), 1)
        return True

    def factor_each(self, k: F64) -> F64:
        assert k.flags.c_contiguous
        return np.array([float(not self._factor(each)) for each in k])

    def invert_each(self, factor: F64, out: F64) -> None:
        assert factor.flags.c_contiguous
        assert out.flags.c_contiguous
        assert not np.shares_memory(factor, out)
        for each, inverse in zip(factor, out, strict=True):
            try:
                eye = np.eye(len(each))
                inverse[...] = solve_triangular(each, eye, lower=True, check_finite=False)
            except np.linalg.LinAlgError:  # of what is no factor, as cuBLAS would divide by 0
                inverse[...] = np.nan

    def views(self, array: F64, shape: tuple[int, ...], strides: tuple[int, ...]) -> F64:
        assert array.flags.c_contiguous
        last = sum((count - 1) * stride for count, stride in zip(shape, strides, strict=True))
        assert last < array.size
        view: F64 = as_strided(array, shape, tuple(array.itemsize * stride for stride in strides))
        return view

    def free(self) -> None:
        pass


def _as_c(argument: Argument) -> object:
    if isinstance(argument, np.ndarray):
        assert argument.dtype == np.float64
        assert argument.flags.c_contiguous
        return ctypes.c_void_p(argument.ctypes.data)
    if isinstance(argument, int):
        return ctypes.c_int(argument)
    assert type(argument) is float
    return ctypes.c_double(argument)
