"""What is handed to cuBLAS and cuSOLVER: read back by the libraries' own rules, in place of them."""

import ctypes
import importlib
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from tunesmith_core.gpu.cupy_device import CupyDevice, is_from_cupy
from tunesmith_core.gpu.device import DeviceError
from tunesmith_core.space.scaling import F64

N, T = 0, 1


class Placed:
    """What is asked of an array of CuPy's, over one of numpy's."""

    def __init__(self, array: F64) -> None:
        self.shape, self.strides, self.ndim, self.size = (
            array.shape,
            array.strides,
            array.ndim,
            array.size,
        )
        self.data = SimpleNamespace(ptr=array.__array_interface__["data"][0])


def ours(array: F64) -> Any:
    return Placed(array)


def columns(place: int, leading: int, height: int, width: int) -> F64:
    """A matrix as BLAS has it: column by column."""
    memory = np.ctypeslib.as_array((ctypes.c_double * 1).from_address(place))
    return as_strided(memory, (height, width), (8, 8 * leading))


class Libraries:
    """Compute what cuBLAS and cuSOLVER would, from the arguments of their documentation."""

    CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_FILL_MODE_UPPER = N, T, 1

    def dgemm(self, *arguments: int) -> None:
        batched: Callable[..., None] = self.dgemmStridedBatched
        batched(*arguments[:9], 0, *arguments[9:11], 0, *arguments[11:], 0, 1)

    def dgemmStridedBatched(self, *arguments: int) -> None:  # noqa: N802 - cuBLAS's name
        _, how_a, how_b, m, n, k, alpha, *places = arguments
        a, lda, apart_a, b, ldb, apart_b, beta, c, ldc, apart_c, count = places
        assert lda >= (m if how_a == N else k)
        assert ldb >= (k if how_b == N else n)
        assert ldc >= m
        (factor,), (keep,) = columns(alpha, 1, 1, 1)[0], columns(beta, 1, 1, 1)[0]
        for number in range(count):
            left = a + 8 * number * apart_a
            right = b + 8 * number * apart_b
            x = columns(left, lda, m, k) if how_a == N else columns(left, lda, k, m).T
            y = columns(right, ldb, k, n) if how_b == N else columns(right, ldb, n, k).T
            out = columns(c + 8 * number * apart_c, ldc, m, n)
            out[...] = factor * (x @ y) + (keep * out if keep else 0.0)

    def dgemv(self, *arguments: int) -> None:
        _, how, m, n, alpha, a, lda, x, step_x, beta, y, step_y = arguments
        assert lda >= m
        assert step_x == step_y == 1
        matrix = columns(a, lda, m, n)
        matrix = matrix if how == N else matrix.T
        (factor,), (keep,) = columns(alpha, 1, 1, 1)[0], columns(beta, 1, 1, 1)[0]
        out = columns(y, matrix.shape[0], matrix.shape[0], 1)
        vector = columns(x, matrix.shape[1], matrix.shape[1], 1)
        out[...] = factor * (matrix @ vector) + (keep * out if keep else 0.0)


@pytest.fixture
def device() -> CupyDevice:
    """Give a device with these libraries, whose arrays are numpy's."""
    made = object.__new__(CupyDevice)
    made._cublas = made._cusolver = Libraries()
    made._cupy = SimpleNamespace(
        cuda=SimpleNamespace(device=SimpleNamespace(get_cublas_handle=lambda: 0))
    )
    return made


def factors(*, rows: bool, seed: int, shape: tuple[int, int]) -> F64:
    """A view with neighbours along its rows, or along its columns, inside a larger matrix."""
    m, n = shape
    whole = np.random.default_rng(seed).standard_normal((m + 3, n + 2) if rows else (n + 2, m + 3))
    return whole[1 : m + 1, :n] if rows else whole[1 : n + 1, :m].T


@pytest.mark.parametrize(
    "shape", [(5, 4, 3), (5, 4, 1), (1, 4, 3), (1, 6, 1), (5, 1, 3), (1, 1, 1)]
)
@pytest.mark.parametrize("by_rows", [(True, True), (True, False), (False, True), (False, False)])
def test_views_are_multiplied_where_they_lie(
    device: CupyDevice, shape: tuple[int, int, int], by_rows: tuple[bool, bool]
) -> None:
    m, k, n = shape
    a, b = (
        factors(rows=by_rows[0], seed=1, shape=(m, k)),
        factors(rows=by_rows[1], seed=2, shape=(k, n)),
    )
    whole = np.random.default_rng(3).standard_normal((m + 2, n + 4))
    expected = whole.copy()
    expected[:m, 1 : n + 1] = -2.0 * (a @ b) + 0.5 * whole[:m, 1 : n + 1]
    device.multiply(ours(a), ours(b), ours(whole[:m, 1 : n + 1]), alpha=-2.0, beta=0.5)
    np.testing.assert_allclose(whole, expected, rtol=1e-13)


def test_a_product_with_a_vector_reads_the_matrix_where_it_lies(device: CupyDevice) -> None:
    whole = np.random.default_rng(4).standard_normal((9, 7))
    vector, out = np.random.default_rng(5).standard_normal((5, 1)), np.full((5, 1), np.nan)
    for matrix in (whole[:5, :5], whole[:5, :5].T):
        device.multiply(ours(matrix), ours(vector), ours(out))
        np.testing.assert_allclose(out, matrix @ vector, rtol=1e-13)


def test_batches_are_multiplied_where_they_lie(device: CupyDevice) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((3, 6, 5)), rng.standard_normal((3, 6, 4))
    out = np.full((3, 7, 8), np.nan)
    expected = out.copy()
    expected[:, :4, :4] = a[:, 1:5, :4].transpose(0, 2, 1) @ b[:, 1:5]
    left = a[:, 1:5, :4].transpose(0, 2, 1)
    device.multiply(ours(left), ours(b[:, 1:5]), ours(out[:, :4, :4]))
    np.testing.assert_allclose(out, expected, rtol=1e-13)


def refuse(*_: object) -> None:
    raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")


def test_without_cupy_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"pip install 'tunesmith\[gpu\]'"):
        CupyDevice()


def test_a_missing_driver_and_a_missing_gpu_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(getDeviceCount=refuse)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    with pytest.raises(DeviceError, match="cudaErrorInsufficientDriver"):
        CupyDevice()
    runtime.getDeviceCount = lambda: 2
    with pytest.raises(DeviceError, match="no GPU 2: CUDA shows 2"):
        CupyDevice(2)


def test_a_gpu_that_can_not_be_opened_is_an_error_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = SimpleNamespace(getDeviceCount=lambda: 1, getDeviceProperties=refuse)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    with pytest.raises(DeviceError, match=r"GPU 0 can't be used .*pip install"):
        CupyDevice()


def test_exceptions_of_cupy_are_told_from_others() -> None:
    theirs = type("OutOfMemoryError", (MemoryError,), {"__module__": "cupy.cuda.memory"})
    assert is_from_cupy(theirs())
    assert is_from_cupy(type("E", (Exception,), {"__module__": "cupy_backends.cuda.api"})())
    assert not is_from_cupy(MemoryError())
    assert not is_from_cupy(ValueError())


@pytest.mark.usefixtures("gpu")
def test_products_and_factors_on_a_gpu() -> None:
    cupy = importlib.import_module("cupy")
    there = CupyDevice()
    with there.active():
        whole = cupy.asarray(np.random.default_rng(4).standard_normal((90, 70)))
        out = cupy.empty((50, 60))
        there.multiply(whole[:50, :40], whole[:60, :40].T, out)
        np.testing.assert_allclose(out.get(), (whole[:50, :40] @ whole[:60, :40].T).get())
        k = np.eye(40) * 2 + 1
        placed = cupy.asarray(k)
        assert there.cholesky(placed)
        np.testing.assert_allclose(np.tril(placed.get()), np.linalg.cholesky(k), rtol=1e-12)
        assert not there.cholesky(cupy.asarray(-k))
