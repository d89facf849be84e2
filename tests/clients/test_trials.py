"""What the trials of a caller do at its side: waits, slow answers, blocks that end by an error."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tunesmith import trials
from tunesmith.calls import Caller
from tunesmith.errors import DeadlineExceeded
from tunesmith.trials import AsyncJobTrial, AsyncTrials
from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1.tuning_job_pb2 import (
    HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED,
    HYPER_PARAMETER_TUNING_JOB_STATUS_IN_PROGRESS,
)


class FakeCaller:
    """Answer asks from a list, an error as an error; note requests."""

    def __init__(self, *answers: pb.SuggestResponse | Exception, deadline_s: float = 30.0) -> None:
        self.answers = list(answers)
        self.deadline_s = deadline_s
        self.asked: list[pb.SuggestRequest] = []
        self.completed: list[pb.CompleteTrialRequest] = []
        self.suggestions: Any = self
        self.Suggest = self.CompleteTrial = None

    async def read(self, _: object, request: pb.SuggestRequest, *, patient: bool) -> object:
        assert patient
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def change(self, _: object, request: pb.CompleteTrialRequest, *, patient: bool) -> None:
        assert patient
        self.completed.append(request)

    def start(self, work: Any) -> None:
        work.close()  # leases are not kept here

    def as_caller(self) -> Caller:
        return cast("Caller", self)


def given(name: str) -> pb.SuggestResponse:
    suggested = pb.SuggestedTrial(training_job_name=name, lease_token=1)
    in_progress = HYPER_PARAMETER_TUNING_JOB_STATUS_IN_PROGRESS
    return pb.SuggestResponse(trials=[suggested], hyper_parameter_tuning_job_status=in_progress)


NONE = pb.SuggestResponse(
    hyper_parameter_tuning_job_status=HYPER_PARAMETER_TUNING_JOB_STATUS_IN_PROGRESS
)
END = pb.SuggestResponse(
    hyper_parameter_tuning_job_status=HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED
)


async def taken(caller: FakeCaller) -> list[str]:
    names = []
    async for trial in AsyncTrials(caller.as_caller(), "digits"):
        names.append(trial.name)
        await trial.complete(0.5)
    return names


@pytest.mark.parametrize(("deadline_s", "wait_s"), [(30.0, 20.0), (600.0, 20.0), (6.0, 4.0)])
async def test_an_ask_waits_for_less_than_a_call_may_take(deadline_s: float, wait_s: float) -> None:
    caller = FakeCaller(given("t"), END, deadline_s=deadline_s)
    assert await taken(caller) == ["t"]
    (waited, _) = [each.max_wait.ToTimedelta().total_seconds() for each in caller.asked]
    assert waited == wait_s


async def test_a_slow_suggestion_is_asked_for_again() -> None:
    late = DeadlineExceeded("no answer in time")
    caller = FakeCaller(late, late, given("t"), END)
    assert await taken(caller) == ["t"]
    assert caller.asked[0] == caller.asked[1] == caller.asked[2]


async def test_a_server_that_never_answers_is_not_asked_for_ever() -> None:
    caller = FakeCaller(*[DeadlineExceeded("no answer in time")] * 99)
    with pytest.raises(DeadlineExceeded):
        await taken(caller)
    assert len(caller.asked) == 10


async def test_there_is_a_pause_after_an_answer_without_a_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trials, "_PAUSE_S", 0.05)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await taken(FakeCaller(NONE, NONE, END)) == []
    assert loop.time() - began >= 0.1


async def test_a_block_that_raises_completes_its_trial_as_failed() -> None:
    caller = FakeCaller()
    suggested = pb.SuggestedTrial(training_job_name="t", lease_token=3)

    def trial() -> AsyncJobTrial:
        return AsyncJobTrial(caller.as_caller(), suggested, on_end=lambda: None)

    with pytest.raises(ZeroDivisionError):
        async with trial():
            raise ZeroDivisionError("division by zero")
    (completed,) = caller.completed
    assert (completed.lease_token, completed.failed) == (3, "ZeroDivisionError: division by zero")

    done = trial()
    await done.complete(0.5)
    with pytest.raises(ZeroDivisionError):
        async with done:
            raise ZeroDivisionError
    async with trial():
        pass  # to be completed later
    assert [each.WhichOneof("result") for each in caller.completed] == ["failed", "value"]


@pytest.mark.parametrize("step", [0, -1])
async def test_steps_are_counted_from_one(step: int) -> None:
    suggested = pb.SuggestedTrial(training_job_name="t", lease_token=3)
    trial = AsyncJobTrial(FakeCaller().as_caller(), suggested, on_end=lambda: None)
    with pytest.raises(ValueError, match=f"step is {step}; count what was spent from 1"):
        await trial.report({"loss": 1.0}, step=step)
