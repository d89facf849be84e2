"""Ask and tell in this process: what a program may rely on, and what it is refused."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import tunesmith
from tests.project.repository import SOURCE_ROOTS
from tunesmith import InvalidState, Optimizer, SpaceError, SpaceExhausted, Trial
from tunesmith.space import Range

# A test may be the first to need the kernels, and then waits until they are compiled.
pytestmark = pytest.mark.timeout(120)

SPACE: dict[str, Range] = {
    "lr": tunesmith.log_uniform(1e-5, 1e-1),
    "depth": tunesmith.integers(2, 12),
    "kind": tunesmith.choice(["relu", None, 3]),
}
#: Past the quasi-random start, so that the surrogate has its say.
ENOUGH = 12


def loss(parameters: dict[str, Any]) -> float:
    distance = math.log10(parameters["lr"] / 1e-3) ** 2 + 0.1 * abs(parameters["depth"] - 5)
    return float(distance + (0.5 if parameters["kind"] is None else 0.0))


def run(optimizer: Optimizer, count: int, value: Callable[[dict[str, Any]], float] = loss) -> None:
    for _ in range(count):
        trial = optimizer.ask()
        optimizer.tell(trial, value(trial.parameters))


def parameters_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [trial.parameters for trial in optimizer.trials]


# --- asking --------------------------------------------------------------------------------


def test_a_trial_has_a_number_and_one_value_for_each_parameter() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    trials = [optimizer.ask(), *optimizer.ask(3)]
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    for trial in trials:
        assert trial.status == "pending"
        assert list(trial.parameters) == list(SPACE)
        assert type(trial.parameters["lr"]) is float
        assert type(trial.parameters["depth"]) is int
        assert trial.parameters["kind"] in ("relu", None, 3)
    assert optimizer.pending == optimizer.trials == trials
    assert optimizer.best is None


def test_no_trial_comes_twice_though_many_are_pending() -> None:
    optimizer = Optimizer({"n": tunesmith.integers(0, 30)}, seed=1)
    optimizer.tell({"n": 7}, 0.0)
    run(optimizer, 8, lambda parameters: abs(parameters["n"] - 7.0))
    optimizer.ask(8)
    seen = [parameters["n"] for parameters in parameters_of(optimizer)]
    assert len(set(seen)) == len(seen) == 17


def test_a_finite_space_is_given_whole_and_then_exhausted() -> None:
    space: dict[str, Range] = {
        "n": tunesmith.integers(1, 3),
        "k": tunesmith.choice(["a", None]),
    }
    optimizer = Optimizer(space, seed=3)
    run(optimizer, 4, lambda parameters: parameters["n"])
    rest = optimizer.ask(8)
    assert len(rest) == 2
    assert optimizer.cardinality == 6
    given = {tuple(parameters.values()) for parameters in parameters_of(optimizer)}
    assert given == {(n, k) for n in (1, 2, 3) for k in ("a", None)}
    for ask in (optimizer.ask, lambda: optimizer.ask(2)):
        with pytest.raises(SpaceExhausted, match="all 6 configurations"):
            ask()
    optimizer.tell(rest[0], 1.0)
    assert len(optimizer.trials) == 6


def test_none_are_asked_for_where_no_worker_is_free() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    assert optimizer.ask(0) == []
    with pytest.raises(ValueError, match="-1 trials"):
        optimizer.ask(-1)
    assert optimizer.trials == []


# --- telling -------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_best_is_the_first_of_the_best_values(goal: str) -> None:
    optimizer = Optimizer(SPACE, goal, seed=7)
    trials = optimizer.ask(4)
    for trial, value in zip(trials, (1.0, 3.0, 3.0, 1.0), strict=True):
        told = optimizer.tell(trial, value)
        assert (told.value, told.status) == (value, "completed")
    assert optimizer.best is not None
    assert optimizer.best.number == (0 if goal == "minimize" else 1)
    assert optimizer.pending == []


@pytest.mark.parametrize(
    "value", [1, 2.5, np.float32(0.5), np.int64(3), np.array(1.5), Fraction(1, 4), True]
)
def test_any_one_number_is_a_value(value: Any) -> None:
    optimizer = Optimizer(SPACE, seed=7)
    told = optimizer.tell(optimizer.ask(), value)
    assert type(told.value) is float
    assert told.value == float(value)


class Obstinate:
    def __float__(self) -> float:
        raise RuntimeError("two elements cannot be one number")


@pytest.mark.parametrize(
    "value", [None, "0.5", [0.5], {"loss": 1}, 1j, np.array([1.0, 2.0]), Obstinate()]
)
def test_what_is_no_number_is_refused_and_changes_nothing(value: Any) -> None:
    optimizer = Optimizer(SPACE, seed=7)
    trial = optimizer.ask()
    with pytest.raises(TypeError, match="give one number"):
        optimizer.tell(trial, value)
    assert optimizer.trials == optimizer.pending == [trial]
    optimizer.tell(trial, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, None])
def test_a_failure_is_a_result_and_never_the_best(value: Any) -> None:
    optimizer = Optimizer(SPACE, "maximize", seed=7)
    good, bad = optimizer.ask(2)
    optimizer.tell(good, -1.0)
    told = optimizer.tell(bad, value, failed=value is None)
    assert told.status == "failed"
    assert told.value is None or not math.isfinite(told.value)
    assert optimizer.best is not None
    assert optimizer.best.number == good.number
    assert optimizer.pending == []


def test_what_made_a_trial_fail_is_kept_with_it() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    error = MemoryError("no room")
    told = optimizer.tell(optimizer.ask(), error=error)
    assert told.status == "failed"
    assert told.error is error


def test_a_value_and_a_failure_are_refused_together() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    with pytest.raises(ValueError, match="tell one of both"):
        optimizer.tell(optimizer.ask(), 0.5, failed=True)


@pytest.mark.parametrize("first", [{"value": 0.5}, {"failed": True}, {"value": math.nan}])
def test_a_trial_told_twice_is_refused(first: dict[str, Any]) -> None:
    optimizer = Optimizer(SPACE, seed=7)
    trial = optimizer.ask()
    told = optimizer.tell(trial, **first)
    for again in (trial, told):
        with pytest.raises(InvalidState, match="trial 0 was told before"):
            optimizer.tell(again, 0.25)
    assert [each.status for each in optimizer.trials] == [told.status]


def test_a_trial_may_be_changed_or_copied_before_it_is_told() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    changed, copied, pickled = optimizer.ask(3)
    before = dict(changed.parameters)
    changed.parameters["epochs"] = 3
    assert optimizer.tell(changed, 1.0).parameters == before
    assert optimizer.tell(copy.deepcopy(copied), 2.0).number == 1
    back = pickle.loads(pickle.dumps(pickled))  # noqa: S301 - our own bytes
    assert optimizer.tell(back, 3.0).number == 2


def test_a_trial_of_another_optimizer_is_refused() -> None:
    one, other = Optimizer(SPACE, seed=1), Optimizer(SPACE, seed=2)
    one.ask(2)
    foreign = other.ask(3)
    for trial in foreign[1:]:
        with pytest.raises(ValueError, match="not one of this optimiser's"):
            one.tell(trial, 1.0)
    assert len(one.pending) == 2


def test_a_result_from_elsewhere_becomes_a_trial() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    told = optimizer.tell({"lr": 1e-3, "depth": 5, "kind": 3}, 0.125)
    assert (told.number, told.status, told.value) == (0, "completed", 0.125)
    assert optimizer.best == told
    assert optimizer.ask().number == 1


def test_the_parameters_of_a_pending_trial_tell_that_trial() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    optimizer.ask(2)
    told = optimizer.tell(optimizer.pending[1].parameters, 0.5)
    assert told.number == 1
    assert len(optimizer.trials) == 2
    again = optimizer.tell(told.parameters, 0.75)  # measured once more
    assert again.number == 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"lr": 1e-3, "depth": 5},
        {"lr": 1e-3, "depth": 5, "kind": 3, "width": 1},
        {"lr": 1.0, "depth": 5, "kind": 3},
        {"lr": 1e-3, "depth": 5.5, "kind": 3},
        {"lr": 1e-3, "depth": 5, "kind": "tanh"},
    ],
)
def test_parameters_that_are_not_of_the_space_change_nothing(parameters: dict[str, Any]) -> None:
    optimizer, untouched = Optimizer(SPACE, seed=7), Optimizer(SPACE, seed=7)
    with pytest.raises(SpaceError):
        optimizer.tell(parameters, 1.0)
    assert optimizer.trials == []
    assert optimizer.ask(3) == untouched.ask(3)


def test_what_is_neither_a_trial_nor_parameters_is_refused() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    nonsense: Any = 0
    with pytest.raises(TypeError, match="give a trial, or parameters as a dict"):
        optimizer.tell(nonsense, 1.0)


def test_an_abandoned_trial_is_pending_no_more_and_does_not_come_again() -> None:
    optimizer = Optimizer({"k": tunesmith.choice([1, 2])}, seed=7)
    trial = optimizer.ask()
    assert optimizer.abandon(trial).status == "abandoned"
    assert optimizer.pending == []
    assert optimizer.ask().parameters != trial.parameters
    with pytest.raises(InvalidState, match="abandoned, not pending"):
        optimizer.abandon(trial)
    assert optimizer.tell(trial, 1.0).status == "completed"  # it turned up after all
    with pytest.raises(SpaceExhausted):
        optimizer.ask()


# --- seeds ---------------------------------------------------------------------------------

PROGRAM = f"""
import sys
sys.path[:0] = {list(map(str, SOURCE_ROOTS))!r}
import math, tunesmith
space = {{"x": tunesmith.log_uniform(1e-4, 1), "k": tunesmith.choice(["a", None, 3])}}
optimizer = tunesmith.Optimizer(space, seed=11)
for number in range({ENOUGH}):
    trial = optimizer.ask()
    optimizer.tell(trial, math.log10(trial.parameters["x"]) ** 2 + (trial.parameters["k"] is None))
optimizer.ask(3)
print([trial.parameters for trial in optimizer.trials])
"""


@pytest.mark.long
def test_a_seed_gives_the_same_trials_in_another_process() -> None:
    def printed(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first = printed("1")
    assert first.count("'k'") == ENOUGH + 3
    assert printed("2") == first


def test_a_search_goes_on_in_a_new_optimizer_that_is_told_its_trials() -> None:
    whole = Optimizer(SPACE, seed=5)
    run(whole, ENOUGH + 3)
    begun = Optimizer(SPACE, seed=5)
    run(begun, ENOUGH)
    resumed = Optimizer(SPACE, seed=begun.seed)
    for trial in begun.history:
        resumed.tell(trial.parameters, trial.value)
    run(resumed, 3)
    assert parameters_of(resumed) == parameters_of(whole)


def test_the_history_is_enough_to_go_on_whatever_the_order_was() -> None:
    begun = Optimizer(SPACE, seed=6)
    for number in range(10):
        first, second, third, fourth = begun.ask(4)
        begun.tell(third, loss(third.parameters))
        begun.tell(first, loss(first.parameters))
        if number == 3:
            begun.abandon(fourth)
        else:
            begun.tell(fourth, math.nan if number == 5 else loss(fourth.parameters))
        begun.tell(second, failed=True) if number == 7 else begun.tell(
            second, loss(second.parameters)
        )
    resumed = Optimizer(SPACE, seed=begun.seed)
    for trial in begun.history:
        if trial.status == "abandoned":
            resumed.abandon(trial.parameters)
        else:
            resumed.tell(trial.parameters, trial.value, failed=trial.value is None)
    assert len(begun.history) == 40
    asked = [trial.parameters for trial in resumed.ask(2)]
    assert asked == [trial.parameters for trial in begun.ask(2)]


@pytest.mark.parametrize("seed", [1.5, "a", True])
def test_a_seed_that_is_no_whole_number_is_refused(seed: Any) -> None:
    with pytest.raises(TypeError, match=r"seed is .*; it must be a whole number"):
        Optimizer(SPACE, seed=seed)


@pytest.mark.parametrize("count", ["3", 2.0, True])
def test_so_many_trials_as_are_no_whole_number_are_not_given(count: Any) -> None:
    with pytest.raises(TypeError, match=r"count is .*; it must be a whole number"):
        Optimizer(SPACE).ask(count)


def test_what_is_no_trial_and_what_is_no_error_is_refused() -> None:
    optimizer = Optimizer(SPACE)
    trial = optimizer.ask()
    with pytest.raises(TypeError, match="give a trial, or parameters as a dict"):
        optimizer.abandon(None)  # type: ignore[arg-type]
    for error in (False, "boom"):
        with pytest.raises(TypeError, match="give the exception, or failed=True"):
            optimizer.tell(trial, error=error)  # type: ignore[arg-type]
    assert optimizer.pending == [trial]


def test_numbers_beyond_all_floats_keep_their_sign() -> None:
    optimizer = Optimizer(SPACE)
    assert optimizer.tell(optimizer.ask(), 10**400).value == math.inf
    assert optimizer.tell(optimizer.ask(), -(10**400)).value == -math.inf


def test_an_optimizer_says_in_short_how_it_stands() -> None:
    optimizer = Optimizer(SPACE, seed=3)
    optimizer.tell(optimizer.ask(), 0.5)
    optimizer.ask()
    said = "Optimizer(2 trials, 1 pending, best 0.5, goal='minimize', seed=3)"
    assert repr(optimizer) == said


def test_maximising_is_minimising_the_negative() -> None:
    down, up = Optimizer(SPACE, seed=9), Optimizer(SPACE, "maximize", seed=9)
    run(down, ENOUGH)
    run(up, ENOUGH, lambda parameters: -loss(parameters))
    assert parameters_of(up) == parameters_of(down)
    assert down.best is not None
    assert up.best is not None
    assert up.best.number == down.best.number


def test_a_seed_that_is_drawn_can_be_given_again() -> None:
    drawn = Optimizer(SPACE)
    assert Optimizer(SPACE).seed != drawn.seed
    assert Optimizer(SPACE, seed=drawn.seed).ask(5) == drawn.ask(5)


def test_seeds_differ() -> None:
    assert Optimizer(SPACE, seed=1).ask(5) != Optimizer(SPACE, seed=2).ask(5)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        Optimizer(SPACE, seed=seed)


def test_a_goal_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="'min'; it must be one of minimize, maximize"):
        Optimizer(SPACE, "min")


# --- rough use -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1.0] * 20, id="constant"),
        pytest.param([1e300, -1e300, 1e-300, 0.0] * 5, id="huge"),
        pytest.param([math.nan, math.inf, -math.inf, 1.0] * 5, id="mostly failed"),
        pytest.param([math.nan] * 20, id="all failed"),
        pytest.param([1.0, 1.0 + 1e-15] * 10, id="all but equal"),
    ],
)
def test_hostile_values_never_stop_the_suggestions(values: list[float]) -> None:
    optimizer = Optimizer(SPACE, seed=7)
    for value in values:
        optimizer.tell(optimizer.ask(), value)
    seen = {tuple(trial.parameters.values()) for trial in optimizer.trials}
    assert len(seen) == len(values)


def test_the_search_finds_more_than_chance() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    run(optimizer, 30)
    assert optimizer.best is not None
    assert optimizer.best.value is not None
    assert optimizer.best.value < 0.05


def test_threads_may_share_an_optimizer() -> None:
    optimizer = Optimizer(SPACE, seed=7)

    def work(_: int) -> Trial:
        trial = optimizer.ask()
        return optimizer.tell(trial, loss(trial.parameters))

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(work, range(24)))
    assert sorted(trial.number for trial in told) == list(range(24))
    assert len({tuple(trial.parameters.values()) for trial in optimizer.trials}) == 24
    assert optimizer.pending == []


def test_trials_may_be_keys_and_be_compared() -> None:
    optimizer = Optimizer(SPACE, seed=7)
    trials = optimizer.ask(3)
    assert len(set(trials)) == 3
    assert set(optimizer.pending) == set(trials)


def test_the_device_is_checked_and_named() -> None:
    with pytest.raises(
        ValueError, match="device is 'tpu'; it must be auto, cpu, gpu or gpu:NUMBER"
    ):
        tunesmith.Optimizer({"x": tunesmith.uniform(0, 1)}, device="tpu")
    with pytest.raises(ValueError, match="memory_bytes is -1"):
        tunesmith.Optimizer({"x": tunesmith.uniform(0, 1)}, device="gpu", device_memory_bytes=-1)
    optimizer = tunesmith.Optimizer({"x": tunesmith.uniform(0, 1)}, device="gpu:9", seed=1)
    optimizer.ask()
    assert optimizer.computed_on == "cpu"
