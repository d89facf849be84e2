"""A stand-in for CuPy and CUDA's libraries over numpy: what is called, as its documentation has it.

Kernels are those compiled as C; cuBLAS and cuSOLVER are computed from the pointers and dimensions that they
are given, column by column as they read memory. It knows nothing of speed, streams or races.
"""

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from tests.core.gpu.host_device import HostDevice
from tunesmith_core.gpu.device import source
from tunesmith_core.space.scaling import F64

N, T = 0, 1
NAME = "A Fake"


class OutOfMemoryError(MemoryError):
    """As CuPy has it."""

    __module__ = "cupy.cuda.memory"


def full() -> OutOfMemoryError:
    return OutOfMemoryError("Out of memory allocating 800 bytes")


class Array(np.ndarray[Any, Any]):
    """An array that tells its address as CuPy's does."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])

    def get(self) -> Any:
        return np.array(self)


def columns(place: int, leading: int, height: int, width: int) -> F64:
    """See memory as a matrix, column by column."""
    memory = np.ctypeslib.as_array((ctypes.c_double * 1).from_address(place))
    return as_strided(memory, (height, width), (8, 8 * leading))


def addresses(place: int, count: int) -> list[int]:
    """See memory as so many addresses."""
    return list((ctypes.c_uint64 * count).from_address(place))


def number(place: int) -> float:
    return float(columns(place, 1, 1, 1)[0, 0])


class Libraries:
    """Compute what cuBLAS and cuSOLVER would."""

    CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_FILL_MODE_UPPER = N, T, 1
    CUBLAS_SIDE_LEFT, CUBLAS_DIAG_NON_UNIT = 0, 0

    def dgemm(self, *arguments: int) -> None:
        batched: Callable[..., None] = self.dgemmStridedBatched
        batched(*arguments[:9], 0, *arguments[9:11], 0, *arguments[11:], 0, 1)

    def dgemmStridedBatched(self, *arguments: int) -> None:  # noqa: N802 - cuBLAS's name
        _, how_a, how_b, m, n, k, alpha, *places = arguments
        a, lda, apart_a, b, ldb, apart_b, beta, c, ldc, apart_c, count = places
        assert lda >= (m if how_a == N else k)
        assert ldb >= (k if how_b == N else n)
        assert ldc >= m
        factor, keep = number(alpha), number(beta)
        for each in range(count):
            left, right = a + 8 * each * apart_a, b + 8 * each * apart_b
            x = columns(left, lda, m, k) if how_a == N else columns(left, lda, k, m).T
            y = columns(right, ldb, k, n) if how_b == N else columns(right, ldb, n, k).T
            out = columns(c + 8 * each * apart_c, ldc, m, n)
            out[...] = factor * (x @ y) + (keep * out if keep else 0.0)

    def dgemv(self, *arguments: int) -> None:
        _, how, m, n, alpha, a, lda, x, step_x, beta, y, step_y = arguments
        assert lda >= m
        assert step_x == step_y == 1
        matrix = columns(a, lda, m, n)
        matrix = matrix if how == N else matrix.T
        factor, keep = number(alpha), number(beta)
        out = columns(y, matrix.shape[0], matrix.shape[0], 1)
        vector = columns(x, matrix.shape[1], matrix.shape[1], 1)
        out[...] = factor * (matrix @ vector) + (keep * out if keep else 0.0)

    def dpotrf_bufferSize(  # noqa: N802 - cuSOLVER's name
        self, _handle: int, triangle: int, n: int, _place: int, leading: int
    ) -> int:
        assert triangle == self.CUBLAS_FILL_MODE_UPPER
        assert leading >= n
        return 7

    def dpotrfBatched(self, *arguments: int) -> None:  # noqa: N802 - cuSOLVER's name
        handle, triangle, n, places, leading, faults, count = arguments
        for each, place in enumerate(addresses(places, count)):
            self.dpotrf(handle, triangle, n, place, leading, 0, 7, faults + 4 * each)

    def dtrsmBatched(self, *arguments: int) -> None:  # noqa: N802 - cuBLAS's name
        _, side, triangle, how, diagonal, m, n, alpha, places, lda, targets, ldb, count = arguments
        assert (side, triangle, how, diagonal) == (self.CUBLAS_SIDE_LEFT, 1, N, 0)
        assert min(lda, ldb) >= m
        pairs = zip(addresses(places, count), addresses(targets, count), strict=True)
        for place, target in pairs:
            upper, out = np.triu(columns(place, lda, m, m)), columns(target, ldb, m, n)
            out[...] = number(alpha) * np.linalg.solve(upper, out)

    def dpotrf(self, *arguments: int) -> None:
        _, triangle, n, place, leading, _work, size, fault = arguments
        assert triangle == self.CUBLAS_FILL_MODE_UPPER
        assert size == 7
        matrix = columns(place, leading, n, n)
        told = ctypes.c_int.from_address(fault)
        whole = np.triu(matrix) + np.triu(matrix, 1).T
        try:
            factor = np.linalg.cholesky(whole)
        except np.linalg.LinAlgError:
            told.value = n
        else:
            told.value = 0
            matrix[np.triu_indices(n)] = factor.T[np.triu_indices(n)]


class Cupy:
    """The module, as far as it is used; whatever isn't here is numpy's."""

    __version__ = "0"
    __name__ = "cupy"

    def __init__(self) -> None:
        self.limit: int | None = None
        self.fault: Callable[[], Exception] | None = None
        self.within: list[str] = []
        self.allocate: Callable[[int], object] = self._nothing
        self.pool = SimpleNamespace(
            set_limit=self._set_limit,
            malloc=self._nothing,
            total_bytes=self._total_bytes,
            free_all_blocks=self._freed,
        )
        host = HostDevice()
        self.launched = host.launched

        def kernel(name: str) -> Callable[..., None]:
            def run(blocks: tuple[int, int], threads: tuple[int], arguments: Any) -> None:
                assert self.within == ["device", "pool"]
                # As RawKernel passes them on: a plain int would become 64 bits.
                assert all(isinstance(each, Array | np.int32 | np.float64) for each in arguments)
                plain = [each if isinstance(each, Array) else each.item() for each in arguments]
                host.launch(name, blocks, *threads, *plain)

            return run

        def module(*, code: str, options: tuple[str, ...]) -> Any:
            assert code == source()
            assert options == ("-std=c++17",)
            return SimpleNamespace(get_function=kernel)

        self.RawModule = module
        self.lib = SimpleNamespace(
            stride_tricks=SimpleNamespace(
                as_strided=lambda array, shape, strides: as_strided(
                    array, shape, strides, subok=True
                )
            )
        )
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=lambda: 1,
                getDeviceProperties=lambda _index: {"name": NAME.encode()},
                driverGetVersion=lambda: 13010,
                runtimeGetVersion=lambda: 13000,
            ),
            device=SimpleNamespace(get_cublas_handle=lambda: 0, get_cusolver_handle=lambda: 0),
            Device=self._device,
            MemoryPool=lambda: self.pool,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            using_allocator=self._using,
        )

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            if self.fault is not None:
                raise self.fault()
            result = function(*arguments, **options)
            return result.view(Array) if isinstance(result, np.ndarray) else result

        return wrapped

    def _nothing(self, size: int) -> object:
        return size

    def _total_bytes(self) -> int:
        assert "device" in self.within  # of the current device, as with the limit
        return 0

    def _freed(self) -> None:
        assert "device" in self.within

    def _using(self, malloc: Callable[[int], object]) -> Any:
        self.allocate = malloc
        return self._inside("pool")

    def _set_limit(self, *, size: int) -> None:
        assert self.within == ["device"]  # the limit is that of the current device
        self.limit = size

    def _device(self, index: int) -> Any:
        assert index == 0
        device: Any = self._inside("device")
        device.synchronize = lambda: None
        return device

    @contextlib.contextmanager
    def _inside(self, what: str) -> Iterator[Any]:
        self.within.append(what)
        try:
            yield SimpleNamespace()
        finally:
            self.within.remove(what)


def install(monkeypatch: pytest.MonkeyPatch) -> Cupy:
    """Have it found in place of CuPy."""
    cupy = Cupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for name in ("cublas", "cusolver"):
        monkeypatch.setitem(sys.modules, f"cupy_backends.cuda.libs.{name}", Libraries())
    return cupy
