"""When the convergence of a search is looked for: by what has ended, and by what else there is to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from tests.server.domain.job_specs import CREATED_AT, job_spec
from tunesmith_server.domain.history import Outcome
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.tuning_job import Counters, JobState, TuningJob
from tunesmith_server.engine.compute import Worker, WorkerLost
from tunesmith_server.engine.compute_messages import Assessment
from tunesmith_server.engine.convergence import Convergence, Leisure
from tunesmith_server.store.store import Store


@dataclass
class FakeWorker:
    """Answer as it is told, and note the questions."""

    has_converged: bool = False
    is_warm: bool = True
    in_line: int = 0
    is_lost: bool = False
    questions: list[dict[str, Any]] = field(default_factory=list, init=False)

    async def connection(self) -> FakeWorker:
        return self

    async def warmed(self) -> None:
        self.is_warm = True

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        yield

    async def assess(self, **question: Any) -> Assessment:
        if self.is_lost:
            await asyncio.sleep(0.01)
            raise WorkerLost("it died")
        self.questions.append(question)
        return Assessment(number=1, has_converged=self.has_converged)


class FakeStore:
    """Have so many completed training jobs."""

    async def outcomes(self, _: int) -> tuple[Outcome, ...]:
        return tuple(
            Outcome(
                index=index,
                suggestion=Suggestion(parameters={"x": str(index)}),
                status=TrainingJobStatus.COMPLETED,
                failure_kind=None,
                objective_value=float(index),
                modified_at=CREATED_AT,
            )
            for index in range(1, 4)
        )


def state(*, succeeded: int, completes: bool = False, jobs: int = 100) -> JobState:
    job = TuningJob(
        job_id=1,
        status=TuningJobStatus.IN_PROGRESS,
        created_at=CREATED_AT,
        modified_at=CREATED_AT,
        launched=succeeded,
        counters=Counters(completed=succeeded, objective_succeeded=succeeded),
    )
    return JobState(spec=job_spec(jobs=jobs, on_convergence=completes), job=job)


def watched(
    worker: FakeWorker, *, completes: bool = False, leisure: Leisure | None = None
) -> Convergence:
    return Convergence(
        state(succeeded=0, completes=completes).spec,
        job_id=1,
        store=cast("Store", FakeStore()),
        worker=cast("Worker", worker),
        leisure=leisure or Leisure(),
    )


async def test_it_is_looked_for_from_ten_objectives_on_and_then_after_each_eighth_more() -> None:
    worker = FakeWorker()
    convergence = watched(worker, completes=True)
    looked = []
    for succeeded in range(40):
        if convergence.begins(state(succeeded=succeeded, completes=True)):
            assert not convergence.begins(state(succeeded=succeeded, completes=True))
            assert not await convergence.is_found(state(succeeded=succeeded, completes=True))
            looked.append(succeeded)
    assert looked == [10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 27, 30, 33, 37]
    first = worker.questions[0]
    assert first["remaining"] == 90
    assert [end.suggestion.parameters["x"] for end in first["ends"]] == ["1", "2", "3"]


async def test_what_was_found_is_told() -> None:
    convergence = watched(FakeWorker(has_converged=True))
    assert convergence.begins(state(succeeded=10))
    assert await convergence.is_found(state(succeeded=10))


@pytest.mark.parametrize(
    "over",
    [
        state(succeeded=100),  # all are launched
        replace(
            state(succeeded=50),
            job=replace(state(succeeded=50).job, converged_at=CREATED_AT),
        ),
        replace(
            state(succeeded=50),
            job=replace(state(succeeded=50).job, status=TuningJobStatus.STOPPING),
        ),
    ],
)
async def test_it_is_not_looked_for_where_it_makes_no_difference(over: JobState) -> None:
    assert not watched(FakeWorker()).begins(over)


@pytest.mark.parametrize(("completes", "questions"), [(True, 1), (False, 0)])
@pytest.mark.parametrize("busy", [{"is_warm": False}, {"in_line": 1}])
async def test_what_is_only_reported_waits_for_leisure(
    busy: dict[str, Any], *, completes: bool, questions: int
) -> None:
    worker = FakeWorker(**busy)
    convergence = watched(worker, completes=completes)
    assert convergence.begins(state(succeeded=10))
    await convergence.is_found(state(succeeded=10))
    assert len(worker.questions) == questions
    assert convergence.begins(state(succeeded=10)) != completes


async def test_after_it_was_looked_for_there_is_a_rest_unless_it_matters() -> None:
    leisure = Leisure()
    leisure.spent(100.0)
    assert not leisure.is_now
    assert not watched(FakeWorker(), leisure=leisure).begins(state(succeeded=10))
    matters = watched(FakeWorker(), completes=True, leisure=leisure)
    assert matters.begins(state(succeeded=10, completes=True))


async def test_what_is_only_reported_is_looked_for_of_one_tuning_job_at_a_time() -> None:
    leisure = Leisure()
    first, second = (watched(FakeWorker(in_line=1), leisure=leisure) for _ in range(2))
    assert first.begins(state(succeeded=10))
    assert not second.begins(state(succeeded=10))
    await first.is_found(state(succeeded=10))  # others were in line: it took no time
    assert second.begins(state(succeeded=10))


async def test_a_lost_worker_is_asked_again_later() -> None:
    worker = FakeWorker(is_lost=True)
    convergence = watched(worker, completes=True)
    assert convergence.begins(state(succeeded=10, completes=True))
    assert not await convergence.is_found(state(succeeded=10, completes=True))
    worker.is_lost, worker.has_converged = False, True
    assert convergence.begins(state(succeeded=11, completes=True))
    assert await convergence.is_found(state(succeeded=11, completes=True))


async def test_time_that_a_lost_worker_took_is_rested_for_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spent: list[float] = []
    monkeypatch.setattr(Leisure, "spent", lambda _, seconds: spent.append(seconds))
    convergence = watched(FakeWorker(is_lost=True))
    assert convergence.begins(state(succeeded=10))
    assert not await convergence.is_found(state(succeeded=10))
    assert spent[0] > 0
