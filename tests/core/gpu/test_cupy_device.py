"""CuPy's device over a stand-in for CuPy: what is handed to its libraries, and what goes wrong."""

import importlib
import logging
import re
import sys
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.card.card import open_card
from tests.core.gp.problems import SHAPES, problem
from tests.core.gpu.fake_cupy import NAME, Array, Cupy, OutOfMemoryError, full, install
from tests.core.searches import cube, hills, search
from tunesmith_core import devices
from tunesmith_core.devices import DEFAULT_MEMORY_BYTES, Devices
from tunesmith_core.gp.formula_backend import FormulaBackend
from tunesmith_core.gp.likelihood import Likelihood
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.gpu.cupy_device import CupyDevice, _rounded, is_from_cupy
from tunesmith_core.gpu.device import DeviceError
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space.encoding import to_unit
from tunesmith_core.space.scaling import F64
from tunesmith_core.together import suggest_together


def ours(array: F64) -> Any:
    return array.view(Array)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cupy]:
    """Have CuPy's stand-in found."""
    devices._open_gpu.cache_clear()
    yield install(monkeypatch)
    devices._open_gpu.cache_clear()


@pytest.fixture
def device(cupy: Cupy, compiler: None) -> CupyDevice:
    """Give a device of the stand-in."""
    del cupy, compiler
    return CupyDevice()


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


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (PermissionError(13, "Permission denied", "/var/empty/.cupy"), "CUPY_CACHE_DIR"),
        (RuntimeError("CuPy failed to load libnvrtc.so.13"), r"pip install 'tunesmith\[gpu\]'"),
    ],
)
def test_whatever_keeps_cupy_from_being_imported_the_cpu_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    advice: str,
) -> None:
    def broken(_: str) -> None:
        raise fault

    devices._open_gpu.cache_clear()
    monkeypatch.setattr(
        "tunesmith_core.gpu.cupy_device.importlib", SimpleNamespace(import_module=broken)
    )
    assert Devices("gpu").backend(1000).name == "cpu"
    (message,) = caplog.messages
    assert re.search(advice, message)


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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_likelihoods_are_the_formulas(device: CupyDevice, shape: tuple[int, int, int]) -> None:
    given = problem(shape, seed=5)
    prior = prior_of(given.layout, PriorSettings())
    value, gradient = Likelihood(
        FormulaBackend(np), given.layout, prior, given.x, given.y
    ).negative_log_posterior(given.theta)
    with device.active():
        there = Likelihood(GpuBackend(device), given.layout, prior, given.x, given.y)
        got, slopes = there.negative_log_posterior(given.theta)
    assert got == pytest.approx(value, rel=1e-10, abs=1e-10)
    assert slopes == pytest.approx(gradient, rel=1e-8, abs=1e-8)


def test_at_its_limit_the_pool_gives_its_spare_back_before_it_gives_up(
    cupy: Cupy, device: CupyDevice
) -> None:
    calls: list[str] = []

    def limited(size: int) -> int:
        calls.append("malloc")
        if calls.count("free") < size:
            raise OutOfMemoryError
        return size

    cupy.pool.malloc, cupy.pool.free_all_blocks = limited, lambda: calls.append("free")
    with device.active():
        assert cupy.allocate(1) == 1
        assert calls == ["malloc", "free", "malloc"]
        with pytest.raises(OutOfMemoryError):
            cupy.allocate(3)


def test_what_only_the_garbage_collector_frees_is_no_reason_to_give_up(
    cupy: Cupy, device: CupyDevice
) -> None:
    class Garbage:
        def __init__(self) -> None:
            self.self = self

    held: weakref.WeakSet[Garbage] = weakref.WeakSet()

    def limited(size: int) -> int:
        if held:
            raise OutOfMemoryError
        return size

    cupy.pool.malloc = limited
    held.add(Garbage())
    with device.active():
        assert cupy.allocate(1) == 1


@pytest.mark.usefixtures("warm", "compiler")
def test_when_no_kernel_can_be_kept_the_cpu_goes_on(
    cupy: Cupy, caplog: pytest.LogCaptureFixture
) -> None:
    optimizer = Optimizer(cube(2), seed=2, devices=Devices("gpu"))
    search(optimizer, hills, 8)
    assert optimizer.computed_on == f"gpu:0 {NAME}"
    cupy.fault = lambda: OSError(28, "No space left on device")
    search(optimizer, hills, 3)
    assert optimizer.computed_on == "cpu"
    (message,) = caplog.messages
    assert "No space left on device" in message
    assert "CUPY_CACHE_DIR" in message


def test_sizes_that_grow_a_little_share_memory() -> None:
    sizes = np.unique(np.random.default_rng(0).integers(0, 2**40, 2000) >> np.arange(2000) % 40)
    for size in sizes.tolist():
        assert size <= _rounded(size) <= size + size // 16
    assert len({_rounded(8 * n * n) for n in range(10_000, 10_400)}) <= 3


def test_what_has_no_factor_is_noticed(device: CupyDevice) -> None:
    with device.active():
        k = ours(np.eye(5))
        assert device.cholesky(k)
        k[3, 3] = -1.0
        assert not device.cholesky(k)


def test_many_matrices_are_factored_and_inverted_where_they_lie(device: CupyDevice) -> None:
    half = np.random.default_rng(7).standard_normal((4, 6, 6))
    k = half @ half.transpose(0, 2, 1) + np.eye(6)
    k[2, 4, 4] = -1.0
    factors, inverses = k.copy(), np.full((4, 6, 6), np.nan)
    with device.active():
        assert (device.factor_each(ours(factors)) == 0).tolist() == [True, True, False, True]
        factors[2] = np.eye(6)
        device.invert_each(ours(factors), ours(inverses))
    for each in (0, 1, 3):
        lower = np.linalg.cholesky(k[each])
        np.testing.assert_allclose(np.tril(factors[each]), lower, rtol=1e-12)
        np.testing.assert_allclose(inverses[each] @ lower, np.eye(6), atol=1e-12)
        assert (np.triu(inverses[each], 1) == 0.0).all()


@pytest.mark.usefixtures("warm", "compiler")
def test_many_searches_by_cupy_are_those_of_one_after_the_other(cupy: Cupy) -> None:
    several = [Optimizer(cube(2), seed=seed, devices=Devices("gpu")) for seed in (1, 2, 3, 1, 2, 3)]
    for each in several:
        search(each, hills, 9)
    together, alone = several[:3], several[3:]
    got = suggest_together(together, [None] * 3)
    for found, optimizer in zip(got, alone, strict=True):
        assert found is not None
        (expected,) = optimizer.ask()
        points = to_unit(cube(2), [found, expected])
        np.testing.assert_allclose(points[0], points[1], atol=1e-4)
    assert "climb_each" in cupy.launched
    assert not cupy.within


@pytest.mark.usefixtures("warm", "compiler")
def test_a_search_by_cupy_is_that_of_the_cpu(cupy: Cupy, caplog: pytest.LogCaptureFixture) -> None:
    space = cube(2)
    with caplog.at_level(logging.INFO, logger="tunesmith_core.devices"):
        there = Optimizer(space, seed=1, devices=Devices("auto", crossover=9))
        found = [found for found, _ in search(there, hills, 14)]
    here = [found for found, _ in search(Optimizer(space, seed=1), hills, 14)]
    np.testing.assert_allclose(to_unit(space, found), to_unit(space, here), atol=1e-6)
    assert there.computed_on == f"gpu:0 {NAME}"
    assert caplog.messages == [
        f"models of 9 observations and more are computed on gpu:0 {NAME}, in at most 4 GiB of its memory"
    ]
    assert cupy.limit == DEFAULT_MEMORY_BYTES
    assert cupy.launched
    assert not cupy.within


@pytest.mark.usefixtures("warm", "compiler")
def test_when_its_memory_is_full_the_cpu_goes_on(
    cupy: Cupy, caplog: pytest.LogCaptureFixture
) -> None:
    optimizer = Optimizer(cube(2), seed=2, devices=Devices("gpu"))
    search(optimizer, hills, 9)
    cupy.fault = full
    search(optimizer, hills, 2)
    assert optimizer.computed_on == "cpu"
    assert caplog.messages == [
        (
            f"gpu:0 {NAME} failed (OutOfMemoryError: Out of memory allocating 800 bytes); "
            "the CPU goes on, with nothing lost"
        )
    ]


@pytest.mark.usefixtures("warm", "compiler")
def test_a_gpu_that_is_full_from_the_start_is_not_used(
    cupy: Cupy, caplog: pytest.LogCaptureFixture
) -> None:
    cupy.fault = full
    optimizer = Optimizer(cube(2), seed=2, devices=Devices("gpu"))
    search(optimizer, hills, 8)
    assert optimizer.computed_on == "cpu"
    (message,) = caplog.messages
    assert message.startswith(
        f"suggestions are computed on the CPU: gpu:0 {NAME} can't be used (OutOfMemoryError: "
    )


def test_the_benchmark_names_the_card(cupy: Cupy, compiler: None) -> None:
    del cupy, compiler
    card = open_card(0)
    assert card.names == {
        "card": f"gpu:0 {NAME}",
        "driver": "CUDA 13.1",
        "runtime": "CUDA 13.0",
        "CuPy": "0",
    }
    card.free()
    assert card.used_bytes() == 0


@pytest.mark.usefixtures("gpu")
def test_many_factors_and_inverses_on_a_gpu() -> None:
    cupy = importlib.import_module("cupy")
    there = CupyDevice()
    half = np.random.default_rng(7).standard_normal((5, 200, 200))
    k = half @ half.transpose(0, 2, 1) + 200 * np.eye(200)
    k[2] = -k[2]
    with there.active():
        placed, inverses = cupy.asarray(k), cupy.empty(k.shape)
        assert (there.factor_each(placed) == 0).tolist() == [True, True, False, True, True]
        there.invert_each(placed, inverses)
        for each in (0, 4):
            lower = np.linalg.cholesky(k[each])
            np.testing.assert_allclose(np.tril(placed[each].get()), lower, rtol=1e-11)
            np.testing.assert_allclose(inverses[each].get() @ lower, np.eye(200), atol=1e-11)


@pytest.mark.usefixtures("warm", "gpu")
def test_many_searches_on_a_gpu_are_those_of_one_after_the_other() -> None:
    several = [Optimizer(cube(2), seed=seed, devices=Devices("gpu")) for seed in (1, 2, 1, 2)]
    for each in several:
        search(each, hills, 9)
    got = suggest_together(several[:2], [None] * 2)
    for found, optimizer in zip(got, several[2:], strict=True):
        assert found is not None
        points = to_unit(cube(2), [found, *optimizer.ask()])
        np.testing.assert_allclose(points[0], points[1], atol=5e-4)


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
