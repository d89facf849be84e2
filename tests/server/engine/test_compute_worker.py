"""The worker's side, without its process: optimisers by tuning job, each with its own troubles."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.server.domain.job_specs import SMALL_SPACE, SPACE
from tunesmith_core.devices import OneBackend
from tunesmith_core.gp.formula_backend import FormulaBackend
from tunesmith_core.objective import Goal
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space.encoding import render
from tunesmith_core.space.ranges import Integer, SearchSpace
from tunesmith_server.domain.history import Abandoned, End, Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.warm_start import Lessons
from tunesmith_server.engine.compute import WORKER_COMMAND, worker_command
from tunesmith_server.engine.compute_messages import Answer, Ask, Assess, Assessment, Begin, Learn
from tunesmith_server.engine.compute_worker import Searches

# The kernels may have to be compiled.
pytestmark = pytest.mark.timeout(120)

Texts = dict[str, str]


def begin(
    job_id: int = 1, *, space: SearchSpace = SPACE, seed: int = 3, is_seeded: bool = False
) -> Begin:
    return Begin(job_id=job_id, spaces={None: space}, seed=seed, maximise=True, is_seeded=is_seeded)


def ask(
    job_id: int = 1, *, pending: tuple[Texts, ...] = (), count: int = 1, hurried: bool = False
) -> Ask:
    held = [Suggestion(parameters=each) for each in pending]
    return Ask(number=5, job_id=job_id, pending=held, count=count, hurried=hurried)


def never_warm() -> Searches:
    return Searches(lambda: False)


def texts(answer: Answer) -> list[Texts]:
    assert answer.fault == ""
    assert answer.number == 5
    return [dict(each.parameters) for each in answer.suggestions]


def rendered(
    optimizer: Optimizer,
    *,
    count: int = 1,
    quasi_random: bool = False,
    growth: int | None = None,
) -> list[Texts]:
    found = optimizer.ask(count, quasi_random=quasi_random, growth=growth)
    return [{name: render(value) for name, value in each.items()} for each in found]


def known(configurations: list[Texts]) -> tuple[End, ...]:
    """Give each configuration its depth as its value, but for two that say less."""
    tried = [Suggestion(parameters=each) for each in configurations]
    ends = [Told(suggestion=each, value=float(each.parameters["depth"])) for each in tried]
    return (*ends[:-2], Told(suggestion=tried[-2], value=None), Abandoned(suggestion=tried[-1]))


@pytest.mark.parametrize(
    ("is_seeded", "hurried", "growth"),
    [(True, False, None), (True, True, None), (False, False, 24), (False, True, 6)],
)
def test_answers_are_those_of_the_optimiser(
    *, is_seeded: bool, hurried: bool, growth: int | None
) -> None:
    optimizer = Optimizer(SPACE, seed=3, goal=Goal.MAXIMIZE)
    searches = Searches(lambda: True)
    searches.begin(begin(is_seeded=is_seeded))
    first = texts(searches.ask(ask(count=8)))
    asked = optimizer.ask(8)
    assert first == [{name: render(value) for name, value in each.items()} for each in asked]
    for end, configuration in zip(known(first), asked, strict=True):
        match end:
            case Told(value=value):
                optimizer.tell(configuration, value)
            case Abandoned():
                optimizer.abandon(configuration)
    searches.learn(Learn(job_id=1, ends=known(first)))
    second = texts(searches.ask(ask(count=2, hurried=hurried)))
    assert second == rendered(optimizer, count=2, growth=growth)
    third = texts(searches.ask(ask(pending=tuple(second), hurried=hurried)))
    assert third == rendered(optimizer, growth=growth)


@pytest.mark.parametrize("is_seeded", [False, True])
def test_only_without_a_seed_of_its_own_a_job_takes_quasi_random_suggestions_meanwhile(
    *, is_seeded: bool
) -> None:
    first = texts(_ask_anew(never_warm(), is_seeded=is_seeded, ends=(), count=8))
    ends = known(first)
    cold = texts(_ask_anew(never_warm(), is_seeded=is_seeded, ends=ends, count=1))
    warm = texts(_ask_anew(Searches(lambda: True), is_seeded=is_seeded, ends=ends, count=1))
    assert (cold == warm) == is_seeded
    design = Optimizer(SPACE, seed=3)
    if not is_seeded:
        assert cold == [rendered(design, count=9, quasi_random=True)[-1]]


def test_what_rested_is_known_and_then_known_anew() -> None:
    searches, optimizer = Searches(lambda: True), Optimizer(SPACE, seed=3, goal=Goal.MAXIMIZE)
    searches.begin(begin(is_seeded=False))
    first = texts(searches.ask(ask(count=8)))
    ends = [end for end in known(first)[:-2] if isinstance(end, Told) and end.value is not None]
    rests = [replace(end, rungs=(end.value or 0.0,), is_stopped=True) for end in ends]
    searches.learn(Learn(job_id=1, ends=rests))
    searches.learn(Learn(job_id=1, ends=[replace(end, is_again=True) for end in ends]))
    for end, configuration in zip(ends, optimizer.ask(8), strict=False):
        optimizer.tell(configuration, end.value)
    assert texts(searches.ask(ask(pending=tuple(first[-2:])))) == rendered(optimizer, growth=24)


def _ask_anew(searches: Searches, *, is_seeded: bool, ends: tuple[End, ...], count: int) -> Answer:
    searches.begin(begin(is_seeded=is_seeded))
    searches.learn(Learn(job_id=1, ends=ends))
    return searches.ask(ask(count=count))


def test_a_small_space_is_used_up() -> None:
    searches = never_warm()
    searches.begin(begin(space=SMALL_SPACE))
    some = searches.ask(ask(count=4))
    assert not some.exhausted
    rest = searches.ask(ask(count=4, pending=tuple(texts(some))))
    assert rest.exhausted
    assert len({tuple(each.items()) for each in texts(some) + texts(rest)}) == 6
    nothing = searches.ask(ask(pending=(*texts(some), *texts(rest))))
    assert (nothing.suggestions, nothing.exhausted, nothing.fault) == ([], True, "")


def test_tuning_jobs_do_not_mix() -> None:
    searches, alone = never_warm(), never_warm()
    for job_id in (1, 2):
        searches.begin(begin(job_id, seed=job_id))
    alone.begin(begin(2, seed=2))
    one, two = (texts(searches.ask(ask(job_id, count=3))) for job_id in (1, 2))
    assert one != two
    assert two == texts(alone.ask(ask(2, count=3)))


def test_one_that_was_not_begun_is_answered_with_a_fault_and_can_be_begun() -> None:
    searches = never_warm()
    searches.learn(Learn(job_id=1, ends=()))
    assert searches.ask(ask()).fault == "LookupError: tuning job 1 was not begun here"
    searches.begin(begin())
    assert len(texts(searches.ask(ask()))) == 1
    searches.forget(1)
    searches.forget(1)
    assert searches.ask(ask()).fault


@pytest.mark.parametrize("wrong", [{"depth": "0"}, {"depth": "3.5"}, {"booster": "bush"}])
def test_an_end_that_is_not_of_the_space_breaks_that_tuning_job_alone(wrong: Texts) -> None:
    searches = never_warm()
    searches.begin(begin(1))
    searches.begin(begin(2))
    (right,) = texts(searches.ask(ask(1)))
    searches.learn(
        Learn(
            job_id=1, ends=[Told(suggestion=Suggestion(parameters={**right, **wrong}), value=1.0)]
        )
    )
    answer = searches.ask(ask(1))
    assert answer.suggestions == ()
    assert answer.fault.startswith("SpaceError: ")
    assert next(iter(wrong)) in answer.fault
    assert len(texts(searches.ask(ask(2)))) == 1


# --- lessons of tuning jobs before --------------------------------------------------------


def lessons(*values: float, depth: str = "4") -> Lessons:
    """Say that an earlier tuning job ran some configurations, and tuned one hyperparameter more."""
    ends = tuple(
        Told(
            suggestion=Suggestion(
                parameters={
                    "learning_rate": "0.001",
                    "depth": depth,
                    "booster": "tree",
                    "more": str(number),
                }
            ),
            value=value,
        )
        for number, value in enumerate(values)
    )
    return Lessons(
        searches=(ends,),
        extra=(Integer(name="more", lo=0, hi=9),),
        fixed={"more": "2"},
        same_objective=True,
    )


def test_lessons_change_the_first_suggestion_and_extra_hyperparameters_are_not_suggested() -> None:
    searches = Searches(lambda: True)
    searches.begin(begin())
    without = texts(searches.ask(ask()))
    searches.begin(replace(begin(), lessons=lessons(0.1, 0.5, 0.9)))
    (first,) = texts(searches.ask(ask()))
    assert [first] != without
    assert set(first) == {"learning_rate", "depth", "booster"}


def test_lessons_outside_the_ranges_are_none() -> None:
    searches = Searches(lambda: True)
    searches.begin(begin())
    without = texts(searches.ask(ask()))
    searches.begin(replace(begin(), lessons=lessons(0.1, 0.5, depth="99")))
    assert texts(searches.ask(ask())) == without


# --- convergence --------------------------------------------------------------------------


def assess(*, values: Sequence[float | None], remaining: int = 5, depth: str = "4") -> Assess:
    """Ask about results along one coordinate."""
    ends = [
        Told(
            suggestion=Suggestion(
                parameters={
                    "learning_rate": repr(1e-5 * 10 ** (number / 5)),
                    "depth": depth,
                    "booster": "tree",
                }
            ),
            value=value,
        )
        for number, value in enumerate(values)
    ]
    return Assess(number=9, spaces={None: SPACE}, maximise=True, ends=ends, remaining=remaining)


def test_convergence_is_not_looked_for_before_the_kernels_are_compiled() -> None:
    question = assess(values=[1.0] * 20)
    assert never_warm().assess(question) == Assessment(number=9)


def test_convergence_is_found_where_nothing_is_left_to_gain() -> None:
    searches = Searches(lambda: True)
    flat = [0.9 - 1e-6 * number for number in range(20)]
    assert searches.assess(assess(values=flat)) == Assessment(number=9, has_converged=True)
    rising = [0.1 + 0.04 * number for number in range(20)]
    assert searches.assess(assess(values=rising)) == Assessment(number=9)
    assert searches.assess(assess(values=flat[:9])) == Assessment(number=9)


def test_results_that_are_not_of_the_space_are_a_fault_of_the_question_alone() -> None:
    searches = Searches(lambda: True)
    answer = searches.assess(assess(values=[1.0, 2.0], depth="0"))
    assert answer.fault.startswith("SpaceError: ")
    searches.begin(begin())
    assert len(texts(searches.ask(ask()))) == 1


def test_where_suggestions_are_computed_is_logged_when_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    there = OneBackend(FormulaBackend(np))
    searches = Searches(lambda: True, there)
    searches.begin(begin(is_seeded=True))
    ends = known(rendered(Optimizer(SPACE, seed=3, goal=Goal.MAXIMIZE), count=6))
    with caplog.at_level(logging.INFO, logger="tunesmith_server.engine.compute_worker"):
        searches.ask(ask())
        assert caplog.messages == []
        searches.learn(Learn(job_id=1, ends=ends))
        searches.ask(ask())
        searches.ask(ask())
    assert caplog.messages == ["tuning job 1: suggestions are computed on formulas over numpy"]


def test_a_worker_takes_the_device_from_its_command(tmp_path: Path) -> None:
    command = worker_command(device="gpu:7", memory_bytes=2**30)
    assert command[:-2] == WORKER_COMMAND
    wrong = subprocess.run(
        worker_command(device="abacus", memory_bytes=1),
        input=b"",
        capture_output=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert wrong.returncode == 1
    assert b"device is 'abacus'; it must be auto, cpu, gpu or gpu:NUMBER" in wrong.stderr
