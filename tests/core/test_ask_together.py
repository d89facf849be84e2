"""Many optimisers asked at once suggest what each of them suggests alone, and nothing is lost."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.core.gpu.host_device import HostDevice
from tests.core.searches import LETTERS, cube
from tests.core.test_devices import Failing, on
from tunesmith_core.devices import Devices, OneBackend
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.optimizer import Optimizer, Settings
from tunesmith_core.space import Categorical, Configuration, Continuous, Integer, SearchSpace
from tunesmith_core.space.encoding import from_unit, to_unit
from tunesmith_core.space.ranges import Scaling
from tunesmith_core.space.scaling import F64
from tunesmith_core.surrogate import FitSettings
from tunesmith_core.together import ask_together, suggest_together
from tunesmith_core.transfer import Experience

pytestmark = [pytest.mark.usefixtures("warm", "compiler"), pytest.mark.timeout(60)]

SAME = 5e-4
"""Of a range: as docs/gpu.md says of the CPU's suggestions and a GPU's."""

MIXED = SearchSpace(
    (
        Continuous(name="x", lo=1e-4, hi=1, scaling=Scaling.LOGARITHMIC),
        Integer(name="i", lo=1, hi=64, scaling=Scaling.LOGARITHMIC),
        Integer(name="j", lo=0, hi=9),
        Integer(name="k", lo=0, hi=50),
        Categorical(name="c", values=("a", "b", "c")),
    )
)
LATTICE = SearchSpace(
    (Categorical(name="c", values=tuple("abcdefghijkl")), Integer(name="j", lo=0, hi=9))
)
SPACES = (cube(2), cube(9), MIXED, LATTICE)


def loss(configuration: Configuration) -> float:
    """Have a least value somewhere inside, in any space."""
    total = 0.0
    for number, value in enumerate(configuration.values()):
        place = (
            ord(value[0]) % 5 / 5
            if isinstance(value, str)
            else float(value) / (1 + 19 * (value > 1))
        )
        total += (place - 0.3 - 0.02 * number) ** 2
    return total


def knowing(
    space: SearchSpace, *, seed: int, told: int, held: int = 0, devices: Devices, **options: Any
) -> Optimizer:
    """Make an optimiser that knows random results, the third a failure, and has pending ones."""
    optimizer = Optimizer(space, seed=seed, devices=devices, **options)
    rng = np.random.default_rng(seed)
    for number, each in enumerate(from_unit(space, rng.random((told, space.dimensions)))):
        optimizer.tell(each, None if number == 2 else loss(each))
    for each in from_unit(space, rng.random((held, space.dimensions))):
        optimizer.hold(each)
    return optimizer


def several(sizes: Sequence[tuple[int, int, int]], devices: Devices) -> list[Optimizer]:
    """Make optimisers from indices of spaces and numbers of told and pending ones."""
    return [
        knowing(SPACES[which], seed=seed, told=told, held=held, devices=devices)
        for seed, (which, told, held) in enumerate(sizes)
    ]


def on_kernels() -> Devices:
    return Devices("gpu", open_gpu=on(HostDevice()))


def shared() -> Devices:
    return OneBackend(GpuBackend(HostDevice()))


def check_same(
    got: Sequence[Configuration | None], alone: Sequence[Optimizer], growth: int | None
) -> None:
    """Compare with what each suggests alone; of several points that promise the same any is right."""
    for suggestion, optimizer in zip(got, alone, strict=True):
        assert suggestion is not None
        point = to_unit(optimizer.space, [suggestion])
        ranking = optimizer._promising(growth)
        (expected,) = optimizer.ask(growth=growth)
        best = to_unit(optimizer.space, [expected])
        if np.abs(point - best).max() > SAME:
            scores = ranking.search.scores(np.concatenate([point, best]))
            assert scores[0] > scores[1] - 1e-3


@pytest.mark.parametrize(
    ("sizes", "growth"),
    [
        ([(0, 12, 0), (1, 13, 2), (2, 15, 1), (3, 14, 0), (2, 12, 3), (0, 30, 1), (2, 33, 2)], 24),
        pytest.param([(0, 9, 0), (2, 8, 2), (1, 8, 1)], None, marks=pytest.mark.long),
    ],
    ids=["one fit at most", "by the schedule"],
)
def test_each_suggests_what_it_suggests_alone(
    sizes: list[tuple[int, int, int]], growth: int | None
) -> None:
    devices = shared()
    together, alone = several(sizes, devices), several(sizes, on_kernels())
    pending = [each.pending for each in together]
    got = suggest_together(together, [growth] * len(sizes))
    check_same(got, alone, growth)
    for optimizer, before, suggestion in zip(together, pending, got, strict=True):
        assert optimizer.pending == [*before, suggestion]
        assert optimizer.computed_on == HostDevice.name
    # The fits are done: what comes next goes on from them, with no fit due.
    for optimizer, other, suggestion in zip(together, alone, got, strict=True):
        assert suggestion is not None
        for each in (optimizer, other):
            each.set_pending([])
            each.hold(suggestion)
        theta = optimizer._models()[0].surrogate.theta
        np.testing.assert_allclose(theta, other._models()[0].surrogate.theta, atol=0.01)
    check_same(suggest_together(together, [growth] * len(sizes)), alone, growth)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(6, 60), st.integers(0, 4)), min_size=2, max_size=9
    ),
    st.sampled_from([None, 6, 24]),
)
def test_any_mix_of_sizes_suggests_the_same(
    sizes: list[tuple[int, int, int]], growth: int | None
) -> None:
    together, alone = several(sizes, shared()), several(sizes, on_kernels())
    got = ask_together(together, growth=growth)
    check_same(got, alone, growth)


def test_who_needs_no_model_or_two_is_asked_alone() -> None:
    devices = shared()
    result = ({"x0": 0.5, "x1": 0.5}, 1.0)
    ordinary = several([(0, 12, 0), (0, 13, 0)], devices)
    others = [
        Optimizer(cube(2), seed=1, devices=devices),
        knowing(
            cube(2),
            seed=2,
            told=12,
            devices=devices,
            experience=Experience(searches=[[result, ({"x0": 0.1, "x1": 0.5}, 2.0)]]),
        ),
        knowing(cube(2), seed=3, told=12, devices=Devices("cpu")),
        knowing(cube(33), seed=4, told=12, devices=devices),
        knowing(cube(2), seed=5, told=505, held=8, devices=devices),
        knowing(
            cube(2),
            seed=6,
            told=12,
            devices=devices,
            settings=Settings(fit=FitSettings(large_window=11)),
        ),
        knowing(LETTERS, seed=7, told=30, devices=devices),
        ordinary[0],
    ]
    others[6].set_pending([{"letter": each} for each in "abcdefghijkl"])
    spread = knowing(cube(2), seed=8, told=12, devices=devices)
    spread.tell({"x0": 0.11, "x1": 0.2}, 1.0, rungs=[1.0], is_stopped=True)
    while not spread.is_spreading:
        spread.tell({"x0": 0.31, "x1": 0.01 * spread.known}, 1.0)
    everyone = [*ordinary, *others, spread]
    got = suggest_together(everyone, [24] * len(everyone))
    assert [each is not None for each in got] == [True, True] + [False] * 9
    alone = ask_together(others[:-1], growth=24)
    assert [each is None for each in alone] == [False] * 6 + [True]  # all letters are known
    assert others[0].computed_on == "cpu"


class Noting(HostDevice):
    """A device that takes note of how many matrices of which size are factored at once."""

    def __init__(self) -> None:
        super().__init__()
        self.factored: list[tuple[int, ...]] = []

    def factor_each(self, k: F64) -> F64:
        self.factored.append(k.shape[:2])
        return super().factor_each(k)


def test_small_ones_are_not_padded_to_large_ones() -> None:
    device = Noting()
    several_of = several([(0, n, 0) for n in (40, 31, 12, 13, 8)], OneBackend(GpuBackend(device)))
    got = suggest_together(several_of, [10**9] * 5)
    assert [each is not None for each in got] == [True] * 4 + [False]
    # The last of each batch is for the search, those before for the fits.
    assert {(2, 40), (2, 13)} <= set(device.factored) <= {(2, 40), (1, 40), (2, 13), (1, 13)}


class Scarce(Failing):
    """A device without memory for many models at once, from some launch of such on."""

    def launch(self, kernel: str, *arguments: Any) -> None:
        if kernel.endswith("_each"):
            super().launch(kernel, *arguments)
        else:
            HostDevice.launch(self, kernel, *arguments)


@pytest.mark.parametrize(
    "launches",
    [pytest.param(0, marks=pytest.mark.long), 9, pytest.param(200, marks=pytest.mark.long)],
)
def test_when_the_batch_fails_each_goes_on_alone(
    launches: int, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = [(0, 12, 0), (0, 12, 1), (2, 13, 0)]
    devices = Devices("gpu", open_gpu=on(Scarce(launches)))
    together, alone = several(sizes, devices), several(sizes, on_kernels())
    with caplog.at_level(logging.INFO, logger="tunesmith_core.together"):
        got = ask_together(together, growth=24)
    check_same(got, alone, 24)
    assert [each.message.partition(" (")[0] for each in caplog.records] == [
        "gpu:0 brittle: 3 models at once failed"
    ]
    assert [each.computed_on for each in together] == ["gpu:0 brittle"] * 3


def test_a_gpu_that_fails_altogether_leaves_all_to_the_cpu() -> None:
    sizes = [(0, 12, 0), (0, 12, 1)]
    gpu = GpuBackend(Failing(5))
    together = [
        knowing(
            SPACES[0],
            seed=seed,
            told=told,
            held=held,
            devices=Devices("gpu", open_gpu=lambda *_: gpu),
        )
        for seed, (_, told, held) in enumerate(sizes)
    ]
    here = several(sizes, Devices("cpu"))
    got = ask_together(together, growth=24)
    assert [each.computed_on for each in together] == ["cpu", "cpu"]
    check_same(got, here, 24)


def test_other_errors_are_not_taken_for_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    together = several([(0, 12, 0), (0, 12, 1)], shared())
    monkeypatch.setattr("tunesmith_core.together.fit", broken)
    before = [each.pending for each in together]
    with pytest.raises(ZeroDivisionError):
        suggest_together(together, [None, None])
    assert [each.pending for each in together] == before


class Singular(HostDevice):
    """A device that finds no factor of the first of several matrices, so many times from now on."""

    left = 0

    def factor_each(self, k: F64) -> F64:
        found = super().factor_each(k)
        if self.left:
            self.left -= 1
            found[0], k[0] = 1.0, np.nan
        return found


def test_a_covariance_without_a_factor_is_left_to_be_asked_alone() -> None:
    device, sizes = Singular(), [(0, 12, 0), (0, 14, 1), (1, 12, 0)]
    together, alone = several(sizes, OneBackend(GpuBackend(device))), several(sizes, on_kernels())
    check_same(suggest_together(together, [24] * 3), alone, 24)
    device.left = 1
    got = suggest_together(together, [24] * 3)
    assert [each is None for each in got] == [False, True, False]  # the largest comes first
    check_same([got[0], got[2]], [alone[0], alone[2]], 24)


def test_a_fit_of_what_has_no_factor_goes_on_for_the_others() -> None:
    device = Singular()
    device.left = 1
    together = several([(0, 14, 0), (0, 12, 0)], OneBackend(GpuBackend(device)))
    suggest_together(together, [24] * 2)
    found = [each._models()[0].surrogate for each in together]
    assert [np.array_equal(each.theta, each.prior.mean) for each in found] == [True, False]


def test_growth_is_checked() -> None:
    with pytest.raises(ValueError, match="growth must be at least 1"):
        ask_together(several([(0, 12, 0)], shared()), growth=0)


def test_nobody_is_no_batch() -> None:
    assert ask_together([]) == []


def test_memory_is_a_limit_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    of_two = 2 * 8 * 12 * (4 * 12 + 2 * 512 + 4 * 32)
    monkeypatch.setattr("tunesmith_core.together._MOST_BYTES", of_two)
    device = Noting()
    got = suggest_together(several([(0, 12, 0)] * 5, OneBackend(GpuBackend(device))), [24] * 5)
    assert max(device.factored) == (2, 12)
    assert got.count(None) == 1  # the fifth would be a batch of its own
