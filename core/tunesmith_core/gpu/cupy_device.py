"""An NVIDIA GPU by CuPy: arrays, kernels compiled by NVRTC, products and factors by cuBLAS and cuSOLVER.

CuPy's own functions copy a view before they multiply it, and a covariance before they factor it; at
10,000 observations that is 0.8 GB each time. So the libraries are called directly, by CuPy's bindings.

CuPy is imported when a device is asked for, never with this module.
"""

import contextlib
import functools
import gc
import importlib
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tunesmith_core.gpu.device import Argument, DeviceError, source
from tunesmith_core.space.scaling import F64

OPTIONS = ("-std=c++17",)
"""How the kernels are compiled; nothing here changes what arithmetic means."""

INSTALL = "pip install 'tunesmith[gpu]' brings CuPy and CUDA's libraries"
STORE = (
    "CuPy keeps compiled kernels in ~/.cupy/kernel_cache: have CUPY_CACHE_DIR name a folder that can "
    "be written"
)
_ITEM = 8
_MATRIX = 2  # axes; a batch of them has one more


class CupyDevice:
    """Implement `gpu.device.Device` over CuPy.

    Its arrays live in a memory pool of their own, so that neither its limit nor what it holds in
    store concerns the rest of the process. cuBLAS, cuSOLVER and the driver need some 0.5 GiB beside it.

    Args:
        index: Which GPU, from 0 on, of those that ``CUDA_VISIBLE_DEVICES`` shows.
        memory_bytes: The most that its arrays may take; None for no limit.

    Raises:
        DeviceError: It can't be used; the message says why, and what to do.
    """

    def __init__(self, index: int = 0, *, memory_bytes: int | None = None) -> None:
        self._cupy = _cupy()
        try:
            count = self._cupy.cuda.runtime.getDeviceCount()
        except Exception as error:
            raise DeviceError(
                f"CUDA finds no GPU or no driver that fits ({_words(error)}); install the driver "
                "for CuPy's CUDA, or CuPy for the driver's"
            ) from error
        if index >= count:
            raise DeviceError(f"there is no GPU {index}: CUDA shows {count}, numbered from 0")
        self.xp: ModuleType = self._cupy
        self.index = index
        try:
            self._open(memory_bytes)
        except Exception as error:
            raise DeviceError(
                f"GPU {index} can't be used ({_words(error)}); {INSTALL} of the version that fits"
            ) from error

    def _open(self, memory_bytes: int | None) -> None:
        cupy = self._cupy
        libraries = "cupy_backends.cuda.libs"
        self._cublas: Any = importlib.import_module(f"{libraries}.cublas")
        self._cusolver: Any = importlib.import_module(f"{libraries}.cusolver")
        name = cupy.cuda.runtime.getDeviceProperties(self.index)["name"]
        self.name = f"gpu:{self.index} {name.decode() if isinstance(name, bytes) else name}"
        with cupy.cuda.Device(self.index):
            self._pool = cupy.cuda.MemoryPool()
            if memory_bytes is not None:
                self._pool.set_limit(size=memory_bytes)
            module = cupy.RawModule(code=source(), options=OPTIONS)
        self._function = functools.cache(module.get_function)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make it this thread's device within a ``with`` block, and its pool where arrays come from.

        Raises:
            DeviceError: CuPy can't write what it compiles, which it does whenever something new is computed.
        """
        try:
            with self._cupy.cuda.Device(self.index), self._cupy.cuda.using_allocator(self._malloc):
                yield
        except OSError as error:
            raise DeviceError(f"{self.name} can't be used ({_words(error)}); {STORE}") from error

    def _malloc(self, size: int) -> Any:
        """Allocate from the pool; what it holds in store goes back to the GPU before it gives up.

        By itself the pool does that when the GPU is full, and not at its own limit; so it does with what
        only the garbage collector frees. Sizes are rounded up by at most a sixteenth: the matrices of a
        history that grows then use the same memory one after the other.
        """
        size = _rounded(size)
        try:
            return self._pool.malloc(size)
        except self._cupy.cuda.memory.OutOfMemoryError:
            gc.collect()  # models of forgotten tuning jobs refer to themselves
            self._pool.free_all_blocks()
            return self._pool.malloc(size)

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, *arguments: Argument
    ) -> None:
        """Have a kernel computed; see `gpu.device.Device`."""
        self._function(kernel)(blocks, (threads,), tuple(_as_c(each) for each in arguments))

    def multiply(self, a: F64, b: F64, out: F64, *, alpha: float = 1.0, beta: float = 0.0) -> None:
        """Overwrite ``out`` by alpha a b + beta out; see `gpu.device.Device`."""
        if not out.size:
            return
        cublas = self._cublas
        handle = self._cupy.cuda.device.get_cublas_handle()
        factors = np.array([alpha, beta])
        of_product, of_out = factors.ctypes.data, factors.ctypes.data + _ITEM
        rows, columns, inner = out.shape[-2], out.shape[-1], a.shape[-1]
        # cuBLAS reads columns: what is row by row is the transpose to it, and (a b)^T = b^T a^T.
        (by_a, step_a), (by_b, step_b) = _laid_out(cublas, a), _laid_out(cublas, b)
        step_out = _leading(out, -2, columns)
        if out.ndim == _MATRIX and columns == 1 and _is_vector(b, 0) and _is_vector(out, 0):
            # A matrix and a vector: limited by memory, and gemv is made for that.
            is_rows = by_a == cublas.CUBLAS_OP_N
            height, width = (inner, rows) if is_rows else (rows, inner)
            how = cublas.CUBLAS_OP_T if is_rows else cublas.CUBLAS_OP_N
            cublas.dgemv(
                handle,
                how,
                height,
                width,
                of_product,
                _address(a),
                step_a,
                _address(b),
                1,
                of_out,
                _address(out),
                1,
            )
            return
        sizes = (handle, by_b, by_a, columns, rows, inner, of_product)
        if out.ndim == _MATRIX:
            places = (_address(b), step_b, _address(a), step_a, of_out, _address(out), step_out)
            cublas.dgemm(*sizes, *places)
            return
        apart = [each.strides[0] // _ITEM for each in (b, a, out)]
        cublas.dgemmStridedBatched(
            *sizes,
            _address(b),
            step_b,
            apart[0],
            _address(a),
            step_a,
            apart[1],
            of_out,
            _address(out),
            step_out,
            apart[2],
            out.shape[0],
        )

    def cholesky(self, k: F64) -> bool:
        """Replace a covariance by its factor; see `gpu.device.Device`."""
        n, place = len(k), _address(k)
        # The upper triangle, column by column, is the lower one, row by row.
        upper = self._cublas.CUBLAS_FILL_MODE_UPPER
        handle = self._cupy.cuda.device.get_cusolver_handle()
        size = self._cusolver.dpotrf_bufferSize(handle, upper, n, place, n)
        work, fault = self._cupy.empty(size), self._cupy.empty(1, dtype=np.int32)
        self._cusolver.dpotrf(handle, upper, n, place, n, _address(work), size, _address(fault))
        return not int(fault[0])

    def factor_each(self, k: F64) -> F64:
        """Replace covariances by their factors; see `gpu.device.Device`."""
        count, n = k.shape[:2]
        handle = self._cupy.cuda.device.get_cusolver_handle()
        upper = self._cublas.CUBLAS_FILL_MODE_UPPER  # as in `cholesky`
        places, faults = self._addresses(k), self._cupy.empty(count, dtype=np.int32)
        self._cusolver.dpotrfBatched(handle, upper, n, _address(places), n, _address(faults), count)
        found: F64 = faults
        return found

    def invert_each(self, factor: F64, out: F64) -> None:
        """Overwrite ``out`` by inverses of factors; see `gpu.device.Device`."""
        cublas, (count, n) = self._cublas, factor.shape[:2]
        out[...] = self._cupy.eye(n)
        one = np.ones(1)
        factors, inverses = self._addresses(factor), self._addresses(out)
        # Column by column L is upper triangular, L^T, and its inverse is that of L, row by row.
        cublas.dtrsmBatched(
            self._cupy.cuda.device.get_cublas_handle(),
            cublas.CUBLAS_SIDE_LEFT,
            cublas.CUBLAS_FILL_MODE_UPPER,
            cublas.CUBLAS_OP_N,
            cublas.CUBLAS_DIAG_NON_UNIT,
            n,
            n,
            one.ctypes.data,
            _address(factors),
            n,
            _address(inverses),
            n,
            count,
        )

    def _addresses(self, matrices: F64) -> Any:
        """Give the addresses of several matrices, on the GPU."""
        apart = matrices.strides[0]
        places = _address(matrices) + apart * np.arange(len(matrices), dtype=np.uint64)
        return self._cupy.asarray(places)

    def views(self, array: F64, shape: tuple[int, ...], strides: tuple[int, ...]) -> F64:
        """Look at an array's memory in another way; see `gpu.device.Device`."""
        view: F64 = self._cupy.lib.stride_tricks.as_strided(
            array, shape, tuple(_ITEM * stride for stride in strides)
        )
        return view

    def used_bytes(self) -> int:
        """Tell how much memory its pool holds, the spare included."""
        with self._cupy.cuda.Device(self.index):  # the pool has a part for each device
            total: int = self._pool.total_bytes()
        return total

    def free(self) -> None:
        """Give what the pool holds in store back to the GPU."""
        with self._cupy.cuda.Device(self.index):
            self._pool.free_all_blocks()


def _rounded(size: int) -> int:
    """Give the next size, in bytes, of which there are 16 between two powers of two."""
    step = 1 << max(size.bit_length() - 5, 0)
    return -(-size // step) * step


def is_from_cupy(error: BaseException) -> bool:
    """Tell whether an exception is CuPy's: out of memory, a launch or a library that failed."""
    return type(error).__module__.partition(".")[0] in {"cupy", "cupy_backends", "cupyx"}


def _cupy() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of a CUDA that it doesn't find: that is an error below
            return importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(f"CuPy can't be imported ({error}); {INSTALL}") from error
    except OSError as error:  # it makes the folder of its kernels when it is imported
        raise DeviceError(f"CuPy can't be imported ({_words(error)}); {STORE}") from error
    except Exception as error:
        raise DeviceError(f"CuPy can't be imported ({_words(error)}); {INSTALL}") from error


def _as_c(argument: Argument) -> object:
    if isinstance(argument, int):
        return np.int32(argument)
    return np.float64(argument) if isinstance(argument, float) else argument


def _address(array: Any) -> int:
    address: int = array.data.ptr
    return address


def _laid_out(cublas: Any, matrix: Any) -> tuple[int, int]:
    """Say how cuBLAS has to read a factor so that it sees the transpose, and its leading dimension."""
    height, width = matrix.shape[-2:]
    if matrix.strides[-1] == _ITEM or width == 1:
        return cublas.CUBLAS_OP_N, _leading(matrix, -2, width)
    return cublas.CUBLAS_OP_T, _leading(matrix, -1, height)


def _leading(matrix: Any, axis: int, least: int) -> int:
    """Give the distance of neighbouring rows, or columns; where there is one only, anything fits."""
    return max(int(matrix.strides[axis]) // _ITEM, least, 1)


def _is_vector(matrix: Any, axis: int) -> bool:
    return bool(matrix.strides[axis] == _ITEM or matrix.shape[axis] == 1)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
