"""The optimiser: always a new, valid suggestion, and always the same one."""

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from tunesmith_core import surrogate
from tunesmith_core.devices import OneBackend
from tunesmith_core.errors import SpaceError, SpaceExhausted
from tunesmith_core.gp.formula_backend import FormulaBackend
from tunesmith_core.gp.posterior import Posterior
from tunesmith_core.objective import Goal
from tunesmith_core.optimizer import Optimizer, Settings
from tunesmith_core.space import (
    Categorical,
    Configuration,
    Continuous,
    Integer,
    Parameter,
    Scaling,
    SearchSpace,
)
from tunesmith_core.space.encoding import to_unit
from tunesmith_core.space.scaling import F64
from tunesmith_core.surrogate import FitSettings, Surrogate

pytestmark = [pytest.mark.usefixtures("warm"), pytest.mark.timeout(60)]

MIXED = SearchSpace(
    (
        Continuous(name="rate", lo=1e-5, hi=1e-1, scaling=Scaling.LOGARITHMIC),
        Continuous(name="momentum", lo=0.1, hi=0.999, scaling=Scaling.REVERSE_LOGARITHMIC),
        Integer(name="depth", lo=1, hi=6),
        Integer(name="width", lo=1, hi=1000, scaling=Scaling.LOGARITHMIC),
        Categorical(name="kind", values=("a", "b", "c")),
    )
)

INSIDE: Configuration = {"rate": 1e-3, "momentum": 0.5, "depth": 2, "width": 3, "kind": "a"}


def loss(configuration: Configuration) -> float:
    """Give a smooth objective of the mixed space, least at rate 1e-3, depth 4, kind b."""
    rate, depth = float(configuration["rate"]), int(configuration["depth"])
    width = int(configuration["width"])
    return (
        (math.log10(rate) + 3) ** 2
        + 0.1 * (depth - 4) ** 2
        + (math.log10(width) - 2) ** 2
        + (0.0 if configuration["kind"] == "b" else 0.5)
    )


def run(
    optimizer: Optimizer, objective: Callable[[Configuration], float | None], trials: int
) -> list[Configuration]:
    """Ask and tell so many times, and give what was asked."""
    asked = []
    for _ in range(trials):
        (configuration,) = optimizer.ask()
        optimizer.tell(configuration, objective(configuration))
        asked.append(configuration)
    return asked


def key(configuration: Configuration) -> tuple[object, ...]:
    return tuple(configuration.values())


def test_it_finds_what_random_search_does_not() -> None:
    found = []
    for seed in range(3):
        asked = run(Optimizer(MIXED, seed=seed), loss, 40)
        found.append(min(map(loss, asked)))
        assert len({key(each) for each in asked}) == 40
    assert np.median(found) < 0.02


def test_a_goal_turns_the_sign_and_nothing_else() -> None:
    down = run(Optimizer(MIXED, seed=5), loss, 20)
    up = run(Optimizer(MIXED, seed=5, goal=Goal.MAXIMIZE), lambda c: -loss(c), 20)
    assert down == up


def test_how_a_history_is_told_makes_no_difference() -> None:
    followed = Optimizer(MIXED, seed=3)
    history = run(followed, loss, 45)
    at_once = Optimizer(MIXED, seed=3)
    for configuration in history:
        at_once.tell(configuration, loss(configuration))
    held = followed.ask(3)
    assert at_once.ask(3) == held
    # Nor does it when what is pending is told of anew.
    late = Optimizer(MIXED, seed=3)
    for configuration in history:
        late.tell(configuration, loss(configuration))
    late.set_pending(held[:2])
    assert late.ask() == held[2:]


@pytest.mark.parametrize("asked_after", [2, 15, 40])
def test_what_was_asked_for_and_taken_back_leaves_no_trace(asked_after: int) -> None:
    one, other = Optimizer(MIXED, seed=8), Optimizer(MIXED, seed=8)
    run(one, loss, asked_after)
    run(other, loss, asked_after)
    held = other.ask()
    other.ask(4)
    other.set_pending(held)
    assert one.ask() == held
    assert one.ask(3) == other.ask(3)


def test_in_a_finite_space_what_was_taken_back_is_suggested_again() -> None:
    space = SearchSpace((Categorical(name="kind", values=("a", "b", "c")),))
    optimizer = Optimizer(space, seed=0)
    asked = optimizer.ask(3)
    optimizer.tell(asked[1], 0.5)
    optimizer.set_pending([asked[1]])  # it has ended: that stays known
    optimizer.set_pending([])
    assert optimizer.ask(3) == [asked[0], asked[2]]


def test_with_a_growth_there_is_one_fit_an_ask_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    real = Surrogate._fit

    def noted(self: Surrogate, theta: F64, x: F64, values: F64) -> F64:
        lengths.append(len(x))
        return real(self, theta, x, values)

    monkeypatch.setattr(Surrogate, "_fit", noted)
    optimizer = Optimizer(MIXED, seed=3)
    for growth in (24, 24, 4, 2, 2, 24, None):
        for each in optimizer.ask(8, growth=growth):
            optimizer.tell(each, loss(each))
    # From 24 to 32 it has not grown by a half.
    assert lengths == [8, 16, 24, 40, *range(41, 49)]
    with pytest.raises(ValueError, match="growth must be at least 1"):
        optimizer.ask(growth=0)


def test_the_bits_are_the_same_beyond_the_window_and_the_subset() -> None:
    settings = Settings(fit=FitSettings(window=24, subset=30, growth=6))
    followed = Optimizer(MIXED, seed=3, settings=settings)
    history = run(followed, loss, 70)
    at_once = Optimizer(MIXED, seed=3, settings=settings)
    in_batches = Optimizer(MIXED, seed=3, settings=settings)
    for number, configuration in enumerate(history):
        at_once.tell(configuration, loss(configuration))
        in_batches.tell(configuration, loss(configuration))
        if number % 9 == 8:
            in_batches.ask(2)
            in_batches.set_pending([])
    held = followed.ask(3)
    assert at_once.ask(3) == held
    assert in_batches.ask(3) == held


class _Interrupted(BaseException):
    pass


@pytest.mark.parametrize("where", ["fit", "Posterior", "append"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_interrupted_ask_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, where: str, after: int
) -> None:
    one, other = Optimizer(MIXED, seed=5), Optimizer(MIXED, seed=5)
    for optimizer in (one, other):
        run(optimizer, loss, 20)
        for configuration in optimizer.ask(6):
            optimizer.tell(configuration, loss(configuration))
    owner = Posterior if where == "append" else surrogate
    real, left = getattr(owner, where), after

    def interrupted(*arguments: object, **named: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Interrupted
        return real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, where, interrupted)
        try:
            other.ask()
        except _Interrupted:
            pass
        else:
            other.set_pending([])  # it was not called so often
    assert other.ask(2) == one.ask(2)


SCRIPT = """
import json, math
from tests.core.test_optimizer import MIXED, loss, run
from tunesmith_core.optimizer import Optimizer
optimizer = Optimizer(MIXED, seed=11)
run(optimizer, loss, 30)
print(json.dumps([[repr(value) for value in each.values()] for each in optimizer.ask(2)]))
"""


def test_another_process_suggests_the_same_bit_for_bit() -> None:
    optimizer = Optimizer(MIXED, seed=11)
    run(optimizer, loss, 30)
    here = [[repr(value) for value in each.values()] for each in optimizer.ask(2)]
    there = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert json.loads(there.stdout) == here


def test_seeds_differ() -> None:
    assert run(Optimizer(MIXED, seed=1), loss, 3)[1:] != run(Optimizer(MIXED, seed=2), loss, 3)[1:]


def test_both_backends_follow_the_same_way() -> None:
    space = SearchSpace(MIXED.parameters[:2])

    def objective(configuration: Configuration) -> float:
        return (math.log10(float(configuration["rate"])) + 3) ** 2

    kernels = run(Optimizer(space, seed=4), objective, 14)
    formulas = run(Optimizer(space, seed=4, devices=OneBackend(FormulaBackend(np))), objective, 14)
    # Rounding differs, and grows through the fits; the way is the same.
    np.testing.assert_allclose(to_unit(space, kernels), to_unit(space, formulas), atol=1e-3)


def test_pending_configurations_keep_others_away() -> None:
    optimizer = Optimizer(MIXED, seed=6)
    run(optimizer, loss, 20)
    batch = optimizer.ask(8)
    assert len({key(each) for each in batch}) == 8
    points = to_unit(MIXED, batch)
    apart = np.abs(points[:, None] - points[None]).max(axis=2)[~np.eye(8, dtype=bool)]
    assert apart.min() > 1e-4
    assert optimizer.pending == batch


def test_a_finite_space_ends_cleanly_and_its_best_comes_early() -> None:
    space = SearchSpace(
        (Integer(name="n", lo=1, hi=9), Categorical(name="c", values=("x", "y", "z")))
    )
    optimizer = Optimizer(space, seed=2)
    asked = run(optimizer, lambda c: abs(int(c["n"]) - 6) + (c["c"] != "y"), 27)
    assert len({key(each) for each in asked}) == 27
    assert {"n": 6, "c": "y"} in asked[:16]
    with pytest.raises(SpaceExhausted) as exhausted:
        optimizer.ask()
    assert exhausted.value.suggested == 27


def test_a_batch_beyond_the_end_is_what_is_left() -> None:
    space = SearchSpace((Integer(name="n", lo=1, hi=10),))
    optimizer = Optimizer(space, seed=2)
    run(optimizer, lambda c: float(c["n"]), 7)
    assert len(optimizer.ask(5)) == 3
    with pytest.raises(SpaceExhausted):
        optimizer.ask(1)


def test_what_was_abandoned_says_nothing_and_is_not_suggested_again() -> None:
    space = SearchSpace((Integer(name="n", lo=1, hi=12),))
    optimizer = Optimizer(space, seed=2)
    left = []
    for number in range(12):
        (configuration,) = optimizer.ask()
        left.append(configuration["n"])
        if number % 3:
            optimizer.abandon(configuration)
        else:
            optimizer.tell(configuration, float(configuration["n"]))
    assert sorted(map(int, left)) == list(range(1, 13))
    assert optimizer.pending == []


def test_what_is_outside_the_space_is_refused_and_changes_nothing() -> None:
    one, other = Optimizer(MIXED, seed=9), Optimizer(MIXED, seed=9)
    run(one, loss, 8)
    run(other, loss, 8)
    wrongs: list[Configuration] = [{**INSIDE, "rate": 1.0}, {**INSIDE, "kind": "d"}, {"rate": 1e-3}]
    for wrong in wrongs:
        for refuse in (
            lambda c: other.tell(c, 1.0),
            other.abandon,
            lambda c: other.set_pending([c]),
        ):
            with pytest.raises(SpaceError):
                refuse(wrong)
    assert one.ask() == other.ask()


def wide(count: int) -> SearchSpace:
    parameters: list[Parameter] = []
    for number in range(count):
        match number % 3:
            case 0:
                parameters.append(Continuous(name=f"p{number}", lo=-1, hi=1))
            case 1:
                parameters.append(Integer(name=f"p{number}", lo=0, hi=number))
            case _:
                values = tuple(f"v{value}" for value in range(30))
                parameters.append(Categorical(name=f"p{number}", values=values))
    return SearchSpace(tuple(parameters))


DECADES = SearchSpace(
    (
        Continuous(name="auto", lo=1e-12, hi=1.0),
        Continuous(name="log", lo=1e-12, hi=1.0, scaling=Scaling.LOGARITHMIC),
        Continuous(name="huge", lo=-1e300, hi=1e300 / 2),
        Continuous(name="fixed", lo=3.0, hi=3.0),
        Integer(name="one", lo=7, hi=7),
        Integer(name="vast", lo=-(2**62), hi=2**62),
        Categorical(name="only", values=("it",)),
    )
)


def hostile(name: str) -> Callable[[int], float | None]:
    """Give values by number: told one after the other."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(200)
    return {
        "constant": lambda _: 1.0,
        "all failed": lambda _: None,
        "all NaN": lambda _: math.nan,
        "one value among failures": lambda k: 0.5 if k == 7 else None,
        "infinities": lambda k: [math.inf, -math.inf, 1.0, 2.0][k % 4] + k * 1e-3,
        "half failed": lambda k: None if k % 2 else float(noise[k]),
        "a million times": lambda k: 1e6 * float(noise[k]),
        "a millionth": lambda k: 1e-6 * float(noise[k]),
        "the largest floats": lambda k: 1.7e308 * (-1) ** k,
        "the smallest floats": lambda k: 5e-324 * (k % 3),
        "next to each other": lambda k: 1.0 + 2.2e-16 * (k % 5),
        "far from zero": lambda k: 1e15 + float(noise[k]),
        "one outlier": lambda k: 1e200 if k == 3 else float(noise[k]),
        "exponential": lambda k: math.exp(20 * float(noise[k])),
    }[name]


CASES = [
    "constant", "all failed", "all NaN", "one value among failures", "infinities", "half failed",
    "a million times", "a millionth", "the largest floats", "the smallest floats",
    "next to each other", "far from zero", "one outlier", "exponential",
]  # fmt: skip


@pytest.mark.parametrize("space", [MIXED, DECADES], ids=["mixed", "decades"])
@pytest.mark.parametrize("case", CASES)
def test_hostile_values_never_break_it(case: str, space: SearchSpace) -> None:
    optimizer, value = Optimizer(space, seed=0), hostile(case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(24):
            (configuration,) = optimizer.ask()
            assert np.isfinite(to_unit(space, [configuration])).all()
            optimizer.tell(configuration, value(number))
        assert len(optimizer.ask(4)) == 4


@pytest.mark.parametrize("count", [1, 12, 30])
def test_wide_spaces_with_many_values_never_break_it(count: int) -> None:
    space = wide(count)
    optimizer = Optimizer(space, seed=0)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked = run(optimizer, lambda _: float(rng.standard_normal()), 26)
    assert len({tuple(configuration.values()) for configuration in asked}) == len(asked)
    for configuration in asked:
        assert np.isfinite(to_unit(space, [configuration])).all()


def test_repeated_results_of_one_configuration_are_taken_and_it_is_not_suggested() -> None:
    optimizer = Optimizer(MIXED, seed=0)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(30):
            optimizer.tell(INSIDE, float(rng.standard_normal()))
        asked = optimizer.ask(3)
    assert INSIDE not in asked
    assert len({tuple(configuration.values()) for configuration in asked}) == 3


def test_an_empty_space_has_one_configuration() -> None:
    optimizer = Optimizer(SearchSpace(()), seed=0)
    assert optimizer.ask(2) == [{}]
    with pytest.raises(SpaceExhausted):
        optimizer.ask()


def test_a_scaling_that_is_not_declared_is_learned() -> None:
    def best(scaling: Scaling, seed: int) -> float:
        parameter = Continuous(name="rate", lo=1e-6, hi=1.0, scaling=scaling)
        other = Continuous(name="other", lo=0.0, hi=1.0)
        optimizer = Optimizer(SearchSpace((parameter, other)), seed=seed)

        def objective(configuration: Configuration) -> float:
            rate, other = float(configuration["rate"]), float(configuration["other"])
            return (math.log10(rate) + 4) ** 2 + (other - 0.3) ** 2

        return min(map(objective, run(optimizer, objective, 40)))

    learned = [best(Scaling.AUTO, seed) for seed in range(4)]
    linear = [best(Scaling.LINEAR, seed) for seed in range(4)]
    assert np.median(learned) < 0.02
    assert np.median(learned) < np.median(linear) / 2
