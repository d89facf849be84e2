"""Tuning a function: how it is called, how it ends, and what is left then."""

from __future__ import annotations

import doctest
import gc
import importlib
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tunesmith
from tests.project.repository import DOCS, ROOT, SOURCE_ROOTS, code_blocks
from tunesmith import AllTrialsFailed, Outcome, SpaceError, Trial, maximize, minimize
from tunesmith.space import Range

# A test may be the first to need the kernels, and then waits until they are compiled.
pytestmark = pytest.mark.timeout(120)

SPACE: dict[str, Range] = {"x": tunesmith.uniform(-1, 1), "n": tunesmith.integers(1, 9)}
FINITE: dict[str, Range] = {"n": tunesmith.integers(1, 5)}


def loss(parameters: dict[str, Any]) -> float:
    x, n = parameters["x"], parameters["n"]
    return float((x - 0.3) ** 2 + 0.1 * abs(n - 4))


def parameters_of(outcome: Outcome) -> list[dict[str, Any]]:
    return [trial.parameters for trial in outcome.trials]


# --- what comes of it ----------------------------------------------------------------------


def test_the_outcome_has_the_best_parameters_their_value_and_all_trials() -> None:
    outcome = minimize(loss, SPACE, trials=20, seed=7)
    assert len(outcome.trials) == 20
    assert outcome.value == loss(outcome.parameters)
    assert outcome.value == min(trial.value for trial in outcome.trials if trial.value is not None)
    assert outcome.best == outcome.trials[outcome.best.number]
    assert outcome.seed == 7
    assert not outcome.interrupted
    assert repr(outcome).startswith(f"Outcome(value={outcome.value!r}, parameters={{'x'")
    assert repr(outcome).endswith("20 trials, 0 failed)")


def test_maximising_calls_with_the_same_parameters_as_minimising_the_negative() -> None:
    down = minimize(loss, SPACE, trials=12, seed=3)
    up = maximize(lambda parameters: -loss(parameters), SPACE, trials=12, seed=3)
    assert parameters_of(up) == parameters_of(down)
    assert up.parameters == down.parameters
    assert up.value == -down.value


def test_without_a_seed_one_is_drawn_that_can_be_given_again() -> None:
    first = minimize(loss, SPACE, trials=8)
    assert parameters_of(minimize(loss, SPACE, trials=8, seed=first.seed)) == parameters_of(first)


def test_fifty_trials_are_the_default() -> None:
    space: dict[str, Range] = {"n": tunesmith.integers(1, 51)}
    assert len(minimize(lambda parameters: parameters["n"], space, seed=1).trials) == 50


@pytest.mark.parametrize("workers", [1, 3])
def test_a_space_with_fewer_configurations_than_trials_ends_with_each_tried_once(
    workers: int,
) -> None:
    outcome = minimize(lambda parameters: -parameters["n"], FINITE, trials=20, workers=workers)
    assert sorted(trial.parameters["n"] for trial in outcome.trials) == [1, 2, 3, 4, 5]
    assert outcome.parameters == {"n": 5}


def test_the_function_may_change_the_dict_that_it_gets() -> None:
    outcome = minimize(lambda parameters: parameters.pop("n"), FINITE, trials=5, seed=1)
    assert all("n" in trial.parameters for trial in outcome.trials)
    assert outcome.value == 1


def test_every_trial_is_reported_when_it_has_ended() -> None:
    reported: list[Trial] = []
    outcome = minimize(loss, SPACE, trials=5, seed=1, on_trial=reported.append)
    assert tuple(reported) == outcome.trials


@pytest.mark.parametrize(
    "wrong",
    [{"trials": 0}, {"workers": 0}, {"catch": "ValueError"}, {"catch": KeyboardInterrupt}],
)
def test_arguments_out_of_range_are_refused_before_any_call(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        minimize(lambda _parameters: pytest.fail("called"), FINITE, **wrong)


def test_a_wrong_space_is_refused() -> None:
    space: Any = {"x": (0, 1)}
    with pytest.raises(SpaceError, match=r"tunesmith\.uniform"):
        minimize(loss, space)


# --- failures ------------------------------------------------------------------------------


class Diverged(Exception):
    pass


def test_an_exception_is_raised_on_with_a_note_of_its_trial_and_of_the_best_so_far() -> None:
    reported: list[Trial] = []

    def fails_at_last(parameters: dict[str, Any]) -> float:
        if len(reported) == 3:
            raise Diverged("too fast")
        return loss(parameters)

    with pytest.raises(Diverged, match="too fast") as raised:
        minimize(fails_at_last, SPACE, seed=1, on_trial=reported.append)
    (note,) = raised.value.__notes__
    best = min(reported[:3], key=lambda trial: trial.value or 0)
    assert f"trial 3 with {reported[3].parameters!r}" in note
    assert f"{best.value!r} with {best.parameters!r}" in note
    assert [trial.status for trial in reported] == ["completed"] * 3 + ["failed"]


def test_an_exception_waits_for_the_trials_that_run_beside_it() -> None:
    calls, told = itertools.count(), threading.Event()
    reported: list[Trial] = []

    def the_first_fails(parameters: dict[str, Any]) -> float:
        if next(calls) == 0:
            raise Diverged
        assert told.wait(20)
        return float(parameters["n"])

    def on_trial(trial: Trial) -> None:
        reported.append(trial)
        told.set()

    with pytest.raises(Diverged):
        minimize(the_first_fails, FINITE, seed=1, workers=2, on_trial=on_trial)
    assert [trial.status for trial in reported] == ["failed", "completed"]


def test_exceptions_to_catch_are_failed_trials() -> None:
    def fails_on_the_left(parameters: dict[str, Any]) -> float:
        if parameters["x"] < 0:
            raise Diverged(f"at {parameters['x']}")
        return loss(parameters)

    outcome = minimize(fails_on_the_left, SPACE, trials=15, seed=1, catch=Diverged)
    failed = [trial for trial in outcome.trials if trial.status == "failed"]
    assert failed
    assert all(isinstance(trial.error, Diverged) for trial in failed)
    assert all((trial.parameters["x"] < 0) == (trial in failed) for trial in outcome.trials)
    assert outcome.parameters["x"] >= 0


def test_an_exception_that_is_kept_does_not_keep_what_its_function_held() -> None:
    class Model:
        pass

    models: list[weakref.ref[Model]] = []

    def fails_with_a_model(parameters: dict[str, Any]) -> float:
        model = Model()
        models.append(weakref.ref(model))
        if parameters["n"] != 1:
            raise Diverged from ValueError("deeper")
        return 0.0

    outcome = minimize(fails_with_a_model, FINITE, seed=1, catch=(Diverged,))
    gc.collect()
    assert sum(trial.error is not None for trial in outcome.trials) == 4
    assert [model() for model in models] == [None] * 5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_failed_trials(value: float) -> None:
    outcome = minimize(
        lambda parameters: value if parameters["n"] < 5 else 9.0, FINITE, trials=5, seed=1
    )
    assert outcome.parameters == {"n": 5}
    assert sum(trial.status == "failed" for trial in outcome.trials) == 4


def test_if_all_trials_fail_that_is_said_with_the_last_exception() -> None:
    def fails(parameters: dict[str, Any]) -> float:
        if parameters["n"] == 3:
            return math.nan
        raise Diverged(str(parameters["n"]))

    with pytest.raises(AllTrialsFailed, match=r"all 5 trials failed: 4 raised .* 1 gave") as raised:
        minimize(fails, FINITE, seed=1, catch=Exception)
    assert isinstance(raised.value.__cause__, Diverged)
    assert len(raised.value.trials) == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_a_function_that_returns_no_number_is_an_error_that_nothing_catches(workers: int) -> None:
    calls: list[int] = []
    forgetful: Any = lambda parameters: calls.append(parameters["n"])  # noqa: E731 - no return
    with pytest.raises(TypeError, match="the function returned None; return the objective"):
        minimize(forgetful, FINITE, seed=1, catch=Exception, workers=workers)
    assert len(calls) <= workers


# --- Ctrl-C --------------------------------------------------------------------------------


def test_an_interrupt_ends_early_with_the_best_so_far() -> None:
    seen: list[float] = []

    def interrupted(parameters: dict[str, Any]) -> float:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(loss(parameters))
        return seen[-1]

    outcome = minimize(interrupted, SPACE, trials=20, seed=1)
    assert outcome.interrupted
    assert outcome.value == min(seen)
    assert [trial.status for trial in outcome.trials] == ["completed"] * 3 + ["abandoned"]


def test_an_interrupt_before_the_first_value_is_raised_on() -> None:
    def interrupted(_parameters: dict[str, Any]) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimize(interrupted, SPACE, seed=1)


PROGRAM = f"""
import sys
sys.path[:0] = {list(map(str, SOURCE_ROOTS))!r}
import itertools, signal, threading, tunesmith
signal.signal(signal.SIGINT, signal.default_int_handler)
calls, go_on = itertools.count(), threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), go_on.set()), daemon=True).start()

def fn(parameters):
    if next(calls):
        sys.stdout.write("runs\\n")  # at once: two threads do
        sys.stdout.flush()
        go_on.wait()
    return parameters["n"]

outcome = tunesmith.minimize(fn, {{"n": tunesmith.integers(1, 9)}}, seed=1, workers=2)
print(outcome.interrupted, [str(trial.status) for trial in outcome.trials], flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_waits_for_running_trials_and_a_second_one_does_not(times: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["runs\n"] * 2
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline().startswith("waiting for 2 running trials; press")
            if times == 1:
                process.stdin.write("\n")
                process.stdin.flush()
            else:
                process.send_signal(signal.SIGINT)
            said = process.stdout.readline()
            ended = ["completed"] * 3 if times == 1 else ["completed", "abandoned", "abandoned"]
            assert said == f"True {ended}\n"
            assert process.wait(60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["trials", "workers"])
@pytest.mark.parametrize("count", [2.5, "3", True, None])
def test_a_count_that_is_no_whole_number_is_refused(name: str, count: object) -> None:
    counts: dict[str, Any] = {name: count}
    with pytest.raises(TypeError, match=f"{name} is .*; it must be a whole number, such as 3"):
        minimize(lambda _: 1.0, SPACE, **counts)


def test_whole_numbers_of_other_libraries_are_counts() -> None:
    outcome = minimize(lambda _: 1.0, SPACE, trials=np.int64(3), workers=np.int8(2))  # type: ignore[arg-type]
    assert len(outcome.trials) == 3


def test_what_cannot_be_called_is_refused_at_the_door() -> None:
    called = 0

    def fn(_parameters: dict[str, Any]) -> float:
        nonlocal called
        called += 1
        return 1.0

    with pytest.raises(TypeError, match="3 is to be tuned; give a function"):
        minimize(3, SPACE)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_trial is 3; it must be a function"):
        minimize(fn, SPACE, on_trial=3)  # type: ignore[arg-type]
    assert not called


# --- workers -------------------------------------------------------------------------------


def test_so_many_trials_run_at_a_time_as_there_are_workers() -> None:
    together = threading.Barrier(3)
    names: set[str] = set()

    def meets(parameters: dict[str, Any]) -> float:
        together.wait(20)  # breaks, and fails the test, unless three run at once
        names.add(threading.current_thread().name)
        return loss(parameters)

    outcome = minimize(meets, SPACE, trials=12, seed=1, workers=3)
    assert len({tuple(trial.parameters.values()) for trial in outcome.trials}) == 12
    assert names == {f"tunesmith-trials-{index}" for index in range(3)}


def test_one_worker_is_the_callers_own_thread() -> None:
    threads: set[threading.Thread] = set()

    def notes_its_thread(parameters: dict[str, Any]) -> float:
        threads.add(threading.current_thread())
        return loss(parameters)

    minimize(notes_its_thread, SPACE, trials=3, seed=1)
    assert threads == {threading.current_thread()}


# --- examples ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["space", "optimizer", "tuning"])
def test_the_examples_in_docstrings_do_what_they_say(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"tunesmith.{name}"))
    assert result.attempted
    assert not result.failed


def test_the_page_of_the_client_shows_programs_that_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    blocks = code_blocks(text[text.index("## Without a server") :], "python")
    assert len(blocks) > 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102 - our own page


def test_the_example_tunes_a_model() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "in_process" / "tune.py", "--trials", "3"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCE_ROOTS))},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert done.stderr == ""
