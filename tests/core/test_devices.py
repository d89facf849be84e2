"""Which device computes what, and what happens when it can't any more."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest

from tests.core.gpu.host_device import HostDevice
from tests.core.searches import cube, hills, search
from tunesmith_core.devices import CROSSOVER, DEFAULT_MEMORY_BYTES, Devices
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.gpu.device import Argument, DeviceError
from tunesmith_core.optimizer import Optimizer, Settings
from tunesmith_core.space.encoding import to_unit
from tunesmith_core.space.scaling import F64
from tunesmith_core.surrogate import FitSettings

pytestmark = [pytest.mark.usefixtures("warm", "compiler"), pytest.mark.timeout(60)]

SPACE = cube(3)


class OutOfMemory(MemoryError):
    """As CuPy has it."""

    __module__ = "cupy.cuda.memory"


class Failing(HostDevice):
    """A device that runs out of memory after so many launches."""

    name = "gpu:0 brittle"

    def __init__(self, launches: int) -> None:
        super().__init__()
        self.left = launches

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, *arguments: Argument
    ) -> None:
        if not self.left:
            raise OutOfMemory("Out of memory allocating 800,000,000 bytes")
        self.left -= 1
        super().launch(kernel, blocks, threads, *arguments)


class Scoped(HostDevice):
    """A device whose arrays must be used within its context alone."""

    within = 0

    def active(self) -> AbstractContextManager[None]:
        return self

    def __enter__(self) -> None:
        self.within += 1

    def __exit__(self, *_: object) -> None:
        self.within -= 1

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, *arguments: Argument
    ) -> None:
        assert self.within == 1
        super().launch(kernel, blocks, threads, *arguments)

    def multiply(self, a: F64, b: F64, out: F64, *, alpha: float = 1.0, beta: float = 0.0) -> None:
        assert self.within == 1
        super().multiply(a, b, out, alpha=alpha, beta=beta)


def on(device: HostDevice) -> Callable[[int, int | None], Backend]:
    """Open this device, whatever is asked for."""
    return lambda _index, _memory: GpuBackend(device)


def refuse(_index: int, _memory: int | None) -> Backend:
    raise DeviceError("no driver that fits: install one")


def unopened(_index: int, _memory: int | None) -> Backend:
    raise AssertionError("nobody may ask")


def points(optimizer: Optimizer, trials: int) -> F64:
    """Search, and give where (trials, d)."""
    return to_unit(SPACE, [found for found, _ in search(optimizer, hills, trials)])


def test_the_choice_and_the_number_of_observations_decide() -> None:
    gpu = GpuBackend(HostDevice())
    auto = Devices("auto", open_gpu=lambda _index, _memory: gpu)
    assert auto.backend(CROSSOVER - 1).name == "cpu"
    assert auto.backend(CROSSOVER) is gpu
    assert auto.backend(CROSSOVER - 1).name == "cpu"
    assert Devices("gpu", open_gpu=lambda _index, _memory: gpu).backend(1) is gpu
    assert Devices("cpu", open_gpu=unopened).backend(10**6).name == "cpu"
    assert Devices("auto", open_gpu=unopened).backend(CROSSOVER - 1).name == "cpu"


def test_the_choice_names_the_gpu_and_its_memory() -> None:
    asked: list[tuple[int, int | None]] = []

    def opened(index: int, memory: int | None) -> Backend:
        asked.append((index, memory))
        return GpuBackend(HostDevice())

    Devices("gpu:3", memory_bytes=2**20, open_gpu=opened).backend(1)
    Devices("gpu", open_gpu=opened).backend(1)
    Devices("gpu", memory_bytes=None, open_gpu=opened).backend(1)
    assert asked == [(3, 2**20), (0, DEFAULT_MEMORY_BYTES), (0, None)]


@pytest.mark.parametrize("choice", ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "cuda", "cpu:0"])
def test_other_choices_are_refused(choice: str) -> None:
    with pytest.raises(ValueError, match="it must be auto, cpu, gpu or gpu:NUMBER"):
        Devices(choice)


def test_memory_has_to_be_positive() -> None:
    with pytest.raises(ValueError, match="memory_bytes is 0"):
        Devices(memory_bytes=0)


@pytest.mark.parametrize(("choice", "level"), [("auto", logging.INFO), ("gpu", logging.WARNING)])
def test_a_gpu_that_can_not_be_opened_is_said_once(
    choice: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    devices = Devices(choice, crossover=5, open_gpu=refuse)
    with caplog.at_level(logging.INFO, logger="tunesmith_core.devices"):
        got = points(Optimizer(SPACE, seed=1, devices=devices), 12)
    assert [(each.levelno, each.message) for each in caplog.records] == [
        (level, "suggestions are computed on the CPU: no driver that fits: install one")
    ]
    assert not devices.uses_gpu
    assert np.array_equal(got, points(Optimizer(SPACE, seed=1), 12))


@pytest.mark.parametrize("length", [8, 20])
def test_the_same_history_suggests_the_same_on_both_devices_to_rounding(length: int) -> None:
    device = Scoped()
    there = Optimizer(SPACE, seed=2, devices=Devices("gpu", open_gpu=on(device)))
    here = Optimizer(SPACE, seed=2)
    for configuration, value in search(Optimizer(SPACE, seed=2), hills, length):
        there.tell(configuration, value)
        here.tell(configuration, value)
    one, other = (to_unit(SPACE, each.ask(2)) for each in (there, here))
    assert (there.computed_on, here.computed_on) == (device.name, "cpu")
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_same_history_on_the_same_device_suggests_the_same_bits() -> None:
    devices = [Devices("auto", crossover=12, open_gpu=on(HostDevice())) for _ in range(2)]
    one, other = (Optimizer(SPACE, seed=3, devices=each) for each in devices)
    results = search(one, hills, 20)
    for configuration, value in results:
        other.tell(configuration, value)
    assert other.ask(3) == one.ask(3)
    assert one.computed_on == other.computed_on == HostDevice.name


def test_a_model_moves_to_the_gpu_when_it_is_large_enough() -> None:
    device = HostDevice()
    optimizer = Optimizer(SPACE, seed=4, devices=Devices("auto", crossover=15, open_gpu=on(device)))
    search(optimizer, hills, 14)
    optimizer.ask()
    assert optimizer.computed_on == "cpu"
    assert not device.launched
    search(optimizer, hills, 3)
    assert optimizer.computed_on == device.name


@pytest.mark.parametrize("launches", [0, 7, 150])
def test_when_a_gpu_fails_the_cpu_goes_on_with_nothing_lost(
    launches: int, caplog: pytest.LogCaptureFixture
) -> None:
    device = Failing(launches)
    devices = Devices("auto", crossover=8, open_gpu=on(device))
    optimizer = Optimizer(SPACE, seed=5, devices=devices)
    with caplog.at_level(logging.WARNING, logger="tunesmith_core.devices"):
        got = points(optimizer, 14)
    assert device.left == 0
    assert optimizer.computed_on == "cpu"
    assert [each.message for each in caplog.records] == [
        (
            "gpu:0 brittle failed (OutOfMemory: Out of memory allocating 800,000,000 bytes); "
            "the CPU goes on, with nothing lost"
        )
    ]
    # Rounding differs, and grows through the fits; the way is the same.
    np.testing.assert_allclose(got, points(Optimizer(SPACE, seed=5), 14), atol=1e-3)


def test_other_errors_are_not_taken_for_a_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    device = HostDevice()
    devices = Devices("gpu", open_gpu=on(device))
    optimizer = Optimizer(SPACE, seed=6, devices=devices)
    search(optimizer, hills, 8)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(device, "launch", broken)
    with pytest.raises(ZeroDivisionError):
        optimizer.ask()
    assert devices.uses_gpu


@pytest.mark.parametrize("is_large_scale", [False, True])
def test_a_gpu_sees_all_observations(
    *, is_large_scale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GpuBackend, "is_large_scale", is_large_scale)
    device = HostDevice()
    sizes: list[int] = []
    real = HostDevice.cholesky

    def noted(self: HostDevice, k: F64) -> bool:
        sizes.append(k.shape[-1])
        return real(self, k)

    monkeypatch.setattr(HostDevice, "cholesky", noted)
    fit = FitSettings(subset=9, window=8)
    optimizer = Optimizer(
        SPACE, seed=7, settings=Settings(fit=fit), devices=Devices("gpu", open_gpu=on(device))
    )
    search(optimizer, hills, 16)
    sizes.clear()
    optimizer.ask()
    # The fit's likelihoods, then the factor, then the narrowed one if there is one.
    assert set(sizes) == ({16} if is_large_scale else {9, 16, 8})


def test_a_device_that_computes_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    device = HostDevice()
    GpuBackend(device).check()

    def wrong(k: F64) -> bool:
        HostDevice.cholesky(device, k)
        k[-1, 0] += 1e-6
        return True

    monkeypatch.setattr(device, "cholesky", wrong)
    with pytest.raises(DeviceError, match="computes wrongly"):
        GpuBackend(device).check()
    monkeypatch.setattr(device, "cholesky", lambda _: False)
    with pytest.raises(DeviceError, match="computes wrongly"):
        GpuBackend(device).check()


def test_nothing_happens_on_the_way_into_the_cpu() -> None:
    assert isinstance(Devices("cpu").active(10), nullcontext)


class Limited(HostDevice):
    """A device with memory for one model beside what is being computed."""

    def __init__(self) -> None:
        super().__init__()
        self.full_at: list[int] = []

    def cholesky(self, k: F64) -> bool:
        if self.full_at and self.full_at[0] == 0:
            self.full_at.pop(0)
            raise OutOfMemory("Out of memory")
        if self.full_at:
            self.full_at[0] -= 1
        return super().cholesky(k)


@pytest.mark.parametrize("full_at", [0, 5])
def test_when_memory_is_full_all_models_are_let_go_of_and_computed_again(
    full_at: int, caplog: pytest.LogCaptureFixture
) -> None:
    device = Limited()
    gpu = GpuBackend(device)
    several = [
        Optimizer(SPACE, seed=seed, devices=Devices("gpu", open_gpu=lambda _index, _memory: gpu))
        for seed in (8, 9)
    ]
    first = [points(each, 12) for each in several]
    device.full_at = [full_at]
    with caplog.at_level(logging.INFO, logger="tunesmith_core.devices"):
        second = [points(each, 4) for each in several]
    assert [each.message for each in caplog.records] == [
        f"{device.name}: its memory is full; 2 models are let go of"
    ]
    assert all(each.computed_on == device.name for each in several)
    for seed, one, other in zip((8, 9), first, second, strict=True):
        alone = Optimizer(SPACE, seed=seed, devices=Devices("gpu", open_gpu=on(HostDevice())))
        assert np.array_equal(np.concatenate([one, other]), points(alone, 16))


class Freed(Failing):
    """A device that counts how often its spare is given back."""

    freed = 0

    def free(self) -> None:
        self.freed += 1


def test_a_gpu_that_is_left_for_want_of_memory_gives_back_what_it_keeps() -> None:
    device = Freed(launches=0)
    optimizer = Optimizer(SPACE, seed=5, devices=Devices("gpu", open_gpu=on(device)))
    points(optimizer, 12)
    assert optimizer.computed_on == "cpu"
    assert device.freed == 1


class LaunchError(Exception):
    """As CuPy has it."""

    __module__ = "cupy_backends.cuda.api.driver"


class Broken(Freed):
    """A device none of whose calls works any more after some launches."""

    def launch(
        self, kernel: str, blocks: tuple[int, int], threads: int, *arguments: Argument
    ) -> None:
        if not self.left:
            raise LaunchError("CUDA_ERROR_ILLEGAL_ADDRESS")
        super().launch(kernel, blocks, threads, *arguments)


def test_a_gpu_that_broke_down_is_not_touched_again(caplog: pytest.LogCaptureFixture) -> None:
    device = Broken(launches=40)
    gpu = GpuBackend(device)
    several = [
        Optimizer(SPACE, seed=seed, devices=Devices("gpu", open_gpu=lambda _index, _memory: gpu))
        for seed in (5, 6)
    ]
    for each in several:
        points(each, 12)
        assert each.computed_on == "cpu"
    assert len(device.launched) == 40
    assert device.freed == 0
    assert [each.message for each in caplog.records] == [
        f"{device.name} failed (LaunchError: CUDA_ERROR_ILLEGAL_ADDRESS); the CPU goes on, with nothing lost",
        (
            f"suggestions are computed on the CPU: {device.name} failed earlier in this process; "
            "start it anew"
        ),
    ]
