"""Suggestions from callers' own histories: what is kept between questions, and how many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.server.domain.job_specs import SPACE
from tests.server.engine.compute_parts import QUICK, running
from tests.server.engine.engine_parts import LIMIT_S
from tunesmith_server.domain.errors import Overloaded
from tunesmith_server.engine import consultations as module
from tunesmith_server.engine.compute import Compute
from tunesmith_server.engine.compute_messages import Begin, Forget, Message
from tunesmith_server.engine.consultations import Consultations, Question

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def compute() -> AsyncIterator[Compute]:
    async with running(Compute(command=QUICK)) as made:
        yield made


def question(*, is_seeded: bool, seed: int = 7) -> Question:
    return Question(
        space=SPACE,
        maximise=False,
        seed=seed,
        is_seeded=is_seeded,
        history=(),
        pending=(),
        count=1,
    )


async def said(
    compute: Compute, monkeypatch: pytest.MonkeyPatch, *questions: Question
) -> list[Message]:
    """Ask questions, one after the other, and give what the worker was told."""
    connection = await compute.worker_of(1).connection()
    heard: list[Message] = []
    post = connection.post

    def noted(message: Message) -> None:
        heard.append(message)
        post(message)

    monkeypatch.setattr(connection, "post", noted)
    asked = Consultations(compute)
    async with asyncio.timeout(LIMIT_S):
        for each in questions:
            assert len(await asked.suggest(each)) == 1
    return heard


async def test_an_optimiser_with_a_seed_is_kept(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = question(is_seeded=True)
    heard = await said(compute, monkeypatch, same, same, question(is_seeded=True, seed=8))
    assert sum(isinstance(each, Begin) for each in heard) == 2
    assert not any(isinstance(each, Forget) for each in heard)


async def test_one_with_a_drawn_seed_is_let_go(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = await said(compute, monkeypatch, question(is_seeded=False))
    assert isinstance(heard[-1], Forget)


async def test_too_many_questions_at_a_time_are_sent_away(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_UNDER_WAY", 2)
    asked = Consultations(compute)
    async with asyncio.timeout(LIMIT_S):
        results = await asyncio.gather(
            *(asked.suggest(question(is_seeded=True, seed=seed)) for seed in range(3)),
            return_exceptions=True,
        )
        assert [isinstance(each, Overloaded) for each in results] == [False, False, True]
        assert len(await asked.suggest(question(is_seeded=True))) == 1
