"""The `Trials` stream: who does not read is not read, and every call keeps its contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.engine.callers import Callers
from tunesmith_server.engine.consultations import Consultations
from tunesmith_server.services import suggestion
from tunesmith_server.services.interceptors import Context
from tunesmith_server.services.suggestion import SuggestionService


class NoTrials:
    """Answer every ask at once: there is none. Note how long each would wait."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    async def suggest(
        self, *_: object, max_wait_s: float, **__: object
    ) -> tuple[tuple[()], TuningJobStatus]:
        self.waits_s.append(max_wait_s)
        return (), TuningJobStatus.IN_PROGRESS


def service(given: NoTrials | None = None) -> SuggestionService:
    callers = cast("Callers", given or NoTrials())
    consultations = cast("Consultations", None)
    return SuggestionService(callers=callers, consultations=consultations, draw_seed=lambda: 1)


def ask(call_id: int) -> pb.TrialsRequest:
    suggest = pb.SuggestRequest(hyper_parameter_tuning_job_name="digits", client_id="a")
    return pb.TrialsRequest(call_id=call_id, suggest=suggest)


async def test_who_does_not_read_answers_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestion, "_CALLS_PER_STREAM", 4)
    read = 0

    async def requests() -> AsyncIterator[pb.TrialsRequest]:
        nonlocal read
        for number in range(1, 101):
            read = number
            yield ask(number)

    answers = service().Trials(requests(), cast("Context", None))
    await anext(answers)
    for _ in range(200):
        await asyncio.sleep(0)
    assert (
        read <= 4 + 2
    )  # those with a place, the one that waits for one, and the one that was read
    assert sorted([1, *[answer.call_id async for answer in answers]]) == list(range(1, 101))


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ask(0), "CallId"),
        (pb.TrialsRequest(call_id=1), "TrialsRequest"),
        (pb.TrialsRequest(call_id=1, request_id="x" * 129, suggest=ask(1).suggest), "RequestId"),
        (pb.TrialsRequest(call_id=1, suggest=pb.SuggestRequest(client_id="a")), "Suggest"),
    ],
)
async def test_a_call_that_breaks_its_contract_is_answered_so(
    request_: pb.TrialsRequest, path: str
) -> None:
    async def requests() -> AsyncIterator[pb.TrialsRequest]:
        yield request_

    (answer,) = [each async for each in service().Trials(requests(), cast("Context", None))]
    assert answer.error.reason == "ValidationException"
    if path != "TrialsRequest":
        assert path[0].lower() + path[1:] in answer.error.message


@pytest.mark.parametrize(
    ("seconds", "nanos", "wait_s"),
    [(0, 700_000_000, 0.7), (5, 0, 5.0), (99, 0, 60.0), (2**62, 0, 60.0), (-3, 0, -3.0)],
)
async def test_an_ask_waits_as_it_says_and_a_minute_at_most(
    seconds: int, nanos: int, wait_s: float
) -> None:
    callers, request = NoTrials(), ask(1).suggest
    request.max_wait.seconds, request.max_wait.nanos = seconds, nanos
    await service(callers).Suggest(request, cast("Context", None))
    assert callers.waits_s == [pytest.approx(wait_s)]
