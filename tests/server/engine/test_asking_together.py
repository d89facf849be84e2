"""Several tuning jobs' asks at once: a GPU answers them together, and none pays for another's trouble."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.core.gpu.host_device import COMPILER, HostDevice
from tests.project.repository import ROOT
from tests.server.domain.job_specs import SMALL_SPACE, SPACE
from tests.server.engine.compute_parts import program, running, worker_with
from tests.server.engine.test_compute import connected
from tunesmith_core.devices import Devices, OneBackend
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space.encoding import from_unit, parse, render, to_unit
from tunesmith_core.space.ranges import SearchSpace
from tunesmith_core.together import suggest_together
from tunesmith_server.domain.history import End, Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.engine import compute_worker
from tunesmith_server.engine.compute import Compute
from tunesmith_server.engine.compute_messages import (
    Answer,
    Ask,
    Assess,
    Begin,
    Forget,
    Learn,
    Message,
    encode,
)
from tunesmith_server.engine.compute_worker import Searches, _behind, _Inbox

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not COMPILER, reason="no C compiler runs the GPU's kernels"),
]

TOLD = 12


def begin(job_id: int, *, space: SearchSpace = SPACE, is_seeded: bool = False) -> Begin:
    return Begin(
        job_id=job_id, spaces={None: space}, seed=job_id, maximise=False, is_seeded=is_seeded
    )


def ends(job_id: int, space: SearchSpace = SPACE, told: int = TOLD) -> Sequence[End]:
    rng = np.random.default_rng(job_id)
    points = rng.random((told, space.dimensions))
    return [
        Told(
            suggestion=Suggestion(parameters={n: render(v) for n, v in configuration.items()}),
            value=float(((point - 0.3) ** 2).sum()),
        )
        for configuration, point in zip(from_unit(space, points), points, strict=True)
    ]


def ask(job_id: int, *, count: int = 1, pending: Sequence[Suggestion] = ()) -> Ask:
    return Ask(number=100 + job_id, job_id=job_id, pending=[*pending], count=count)


def knowing(*job_ids: int, seeded: Sequence[int] = (), devices: Devices | None = None) -> Searches:
    """Make a worker's optimisers of tuning jobs that have results."""
    there = devices or OneBackend(GpuBackend(HostDevice()))
    searches = Searches(lambda: True, there)
    for job_id in job_ids:
        searches.hear(begin(job_id, is_seeded=job_id in seeded))
        searches.hear(Learn(job_id=job_id, ends=ends(job_id)))
    return searches


def points(answer: Answer) -> Any:
    configurations = [
        {each.name: parse(each, suggestion.parameters[each.name]) for each in SPACE.parameters}
        for suggestion in answer.suggestions
    ]
    return to_unit(SPACE, configurations)


def note_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note of how many optimisers each batch was."""
    sizes: list[int] = []
    real = suggest_together

    def noted(optimizers: Sequence[Optimizer], growths: Sequence[int | None]) -> Any:
        sizes.append(len(optimizers))
        return real(optimizers, growths)

    monkeypatch.setattr(compute_worker, "suggest_together", noted)
    return sizes


def test_answers_together_are_those_of_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asks = [
        ask(1),
        ask(2, count=3),
        ask(3, pending=[Suggestion(parameters=each.suggestion.parameters) for each in ends(9)[:2]]),
        ask(4),
    ]
    alone = knowing(1, 2, 3, 4, seeded=[4])
    expected = {each.number: alone.ask(each) for each in asks}
    sizes = note_batches(monkeypatch)
    got = list(knowing(1, 2, 3, 4, seeded=[4]).answers(asks))
    assert sizes == [3]  # the second one's other suggestions are for it alone
    assert [each.number for each in got] == [101, 102, 103, 104]
    for answer in got:
        assert not answer.fault
        assert not answer.exhausted
        assert answer.device == HostDevice.name
        there = points(expected[answer.number])
        np.testing.assert_allclose(points(answer), there, atol=5e-4)
    assert got[-1] == expected[104]  # with a seed of its own it is the same, bit for bit


def test_several_that_want_several_have_them_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = note_batches(monkeypatch)
    got = list(knowing(1, 2, 3).answers([ask(1, count=3), ask(2, count=2), ask(3, count=2)]))
    assert sizes == [3, 3]
    assert [len(each.suggestions) for each in got] == [3, 2, 2]
    for answer in got:
        assert len({tuple(each.parameters.values()) for each in answer.suggestions}) == len(
            answer.suggestions
        )


def test_one_jobs_trouble_is_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    searches = knowing(1, 2, 3)
    wrong = ask(2, pending=[Suggestion(parameters={"depth": "many"})])
    got = {each.number: each for each in searches.answers([ask(1), wrong, ask(3), ask(7)])}
    assert [bool(got[number].fault) for number in (101, 102, 103, 107)] == [
        False,
        True,
        False,
        True,
    ]
    assert "tuning job 2" in caplog.text

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(compute_worker, "suggest_together", broken)
    with caplog.at_level(logging.ERROR):
        again = list(searches.answers([ask(1), ask(3)]))
    assert [len(each.suggestions) for each in again] == [1, 1]
    assert "2 tuning jobs could not be asked together" in caplog.text


def test_a_space_that_is_used_up_says_so_among_others() -> None:
    searches = knowing(1, 2)
    searches.hear(begin(3, space=SMALL_SPACE))
    searches.hear(Learn(job_id=3, ends=ends(3, SMALL_SPACE, 60)))
    got = {each.number: each for each in searches.answers([ask(3), ask(1), ask(2)])}
    assert got[103].exhausted
    assert not got[103].suggestions
    assert len(got[101].suggestions) == 1


def test_asks_that_have_come_meanwhile_are_taken_along_up_to_one_that_must_wait() -> None:
    inbox, searches = _Inbox(), Searches(lambda: True)
    assess = Assess(number=9, spaces={None: SPACE}, maximise=False, ends=[], remaining=1)
    messages: list[Message] = [ask(1), begin(2), ask(2), begin(3), Learn(job_id=3, ends=ends(3))]
    messages += [ask(3), Forget(job_id=1), ask(4), assess, ask(5)]
    for message in messages:
        inbox.put(encode(message))
    first = inbox.take()
    assert isinstance(first, Ask)
    assert [each.job_id for each in _behind(first, inbox, searches)] == [2, 3]
    assert inbox.take() == Forget(job_id=1)
    second = inbox.take()
    assert isinstance(second, Ask)
    assert list(_behind(second, inbox, searches)) == []
    assert inbox.take() == assess
    assert inbox.take() == ask(5)
    assert not searches.ask(ask(3)).fault  # what came before its ask was heard


#: Says that it computes on a GPU, which is the kernels compiled as C, and of how many at once.
ON_KERNELS = f"""
sys.path.insert(0, {str(ROOT)!r})
from tests.core.gpu.host_device import HostDevice
from tunesmith_core.devices import OneBackend
from tunesmith_core.gpu.backend import GpuBackend
compute_worker.Devices = lambda *_, **__: OneBackend(GpuBackend(HostDevice()))
HostDevice.name = "gpu:0 kernels"
real = compute_worker.suggest_together
def noted(optimizers, growths):
    print(f"{{len(optimizers)}} at once", file=sys.stderr, flush=True)
    return real(optimizers, growths)
compute_worker.suggest_together = noted
"""


async def test_a_worker_answers_those_that_share_a_turn_together(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with running(Compute(command=worker_with("lambda: None", before=ON_KERNELS))) as compute:
        connection = await connected(compute)

        async def take_a_turn(job_id: int) -> Answer:
            news: list[Message] = [begin(job_id), Learn(job_id=job_id, ends=ends(job_id))]
            async with connection.turn(is_shared=True):
                return await connection.ask(news, job_id=job_id, pending=[], count=1)

        connection.post(begin(1))  # all are there by the time it has loaded what it needs
        answers = await asyncio.gather(*(take_a_turn(job_id) for job_id in range(1, 9)))
    assert [len(each.suggestions) for each in answers] == [1] * 8
    assert {each.device for each in answers} == {"gpu:0 kernels"}
    assert " at once" in capfd.readouterr().err


#: Answers two asks one after the other, each before its asker is impatient.
SLOW = """
import json
numbers = [json.loads(sys.stdin.readline())[1]["number"] for _ in range(2)]
for number in numbers:
    time.sleep(0.9)
    print(json.dumps(["Answer", {"number": number, "suggestions": []}]), flush=True)
time.sleep(600)
"""


@pytest.mark.long  # it waits for seconds
async def test_a_worker_that_answers_others_meanwhile_does_not_hang() -> None:
    async with running(Compute(command=program(SLOW), patience_s=1.6)) as compute:
        connection = await connected(compute)
        answers = await asyncio.gather(
            *(connection.ask([], job_id=each, pending=[], count=1) for each in (1, 2))
        )
    assert len(answers) == 2
