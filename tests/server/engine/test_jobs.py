"""Callers' wishes and runners' reports, through the engine and a real store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.server.engine.engine_parts import (
    LIMIT_S,
    SITE,
    Engine,
    ended,
    reported,
    running_engine,
    tuning_request,
)
from tunesmith.v1.tuning_job_pb2 import AUTOTUNE_MODE_ENABLED
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.autotune import with_choices
from tunesmith_server.domain.errors import (
    Conflict,
    InvalidRequest,
    InvalidState,
    ResourceInUse,
    ResourceLimitExceeded,
    ResourceNotFound,
    SequenceGap,
    TrainingJobInUse,
    TrainingJobNotFound,
)
from tunesmith_server.domain.site import Quotas
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.engine.suggestions import DesignSuggester
from tunesmith_server.engine.watch import Watch


async def _settled(engine: Engine, name: str) -> TuningJobStatus:
    job = await engine.jobs.read(name)
    watch = Watch(store=engine.store, fan_out=engine.fan_out, is_open=engine.jobs.is_open)
    async with asyncio.timeout(LIMIT_S):
        async for _ in watch.events(job.job.job_id, after=0):
            pass
    return (await engine.jobs.read(name)).job.status


async def test_a_job_runs_to_its_end(engine: Engine) -> None:
    await engine.create("job", jobs=3, parallel=2)
    runner = await engine.connect("a", slots=2)
    for value in (0.5, 0.25, 0.75):
        assignment = await runner.assignment()
        metric = ev.MetricEmitted(metric_name="loss", value=value)
        await runner.report(assignment, metric, ended())
    assert await _settled(engine, "job") is TuningJobStatus.COMPLETED
    job = (await engine.jobs.read("job")).job
    assert job.counters.completed == 3
    assert job.best is not None
    assert job.best.objective_value == 0.25
    assert not engine.jobs.is_open(job.job_id)


async def test_a_request_that_breaks_rules_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(InvalidRequest):
        await engine.create("job", jobs=0, parallel=-1)
    with pytest.raises(ResourceNotFound):
        await engine.jobs.read("job")


async def test_a_taken_name_is_refused_in_whatever_case(engine: Engine) -> None:
    await engine.create("job")
    with pytest.raises(ResourceInUse):
        await engine.create("JOB")


async def test_creates_at_once_under_one_request_id_make_one_job(engine: Engine) -> None:
    arns = await asyncio.gather(*(engine.create("job", request_id="k") for _ in range(10)))
    assert len(set(arns)) == 1
    runner = await engine.connect("a", slots=5)
    assignment = await runner.assignment()
    await runner.report(assignment, ended())
    assert await runner.has_nothing()
    assert await engine.create("job", request_id="k") == arns[0]
    with pytest.raises(Conflict):
        await engine.create("other", request_id="k")


async def test_what_autotune_chose_is_stored_and_a_repeat_is_answered_by_it(
    tmp_path: Path,
) -> None:
    request = tuning_request("job")
    request.autotune.mode = AUTOTUNE_MODE_ENABLED
    request.hyper_parameter_tuning_job_config.ClearField("resource_limits")
    async with running_engine(tmp_path) as engine:
        arn = await engine.jobs.create(request, seed=1, request_id="k")
        stored = (await engine.jobs.read("job")).request
        assert stored == with_choices(request, site=SITE)
        assert stored != request
    # Another configuration would choose otherwise; the repeat is still the same call.
    async with running_engine(tmp_path, site=replace(SITE, max_training_jobs=3)) as engine:
        assert await engine.jobs.create(request, seed=2, request_id="k") == arn
        assert (await engine.jobs.read("job")).request == stored
        request.tags.add(key="other", value="a")
        with pytest.raises(Conflict):
            await engine.jobs.create(request, seed=2, request_id="k")


async def test_a_stop_under_a_known_request_id_is_answered_again(engine: Engine) -> None:
    await engine.create("job", request_id="create")
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    await engine.jobs.stop("job", request_id="stop")
    await engine.jobs.stop("JOB", request_id="stop")
    with pytest.raises(InvalidState):
        await engine.jobs.stop("job", request_id=None)
    with pytest.raises(InvalidState):
        await engine.jobs.stop("job", request_id="another")
    await runner.next()
    await runner.report(assignment, ended(ev.Outcome.STOPPED))
    assert await _settled(engine, "job") is TuningJobStatus.STOPPED
    await engine.jobs.stop("job", request_id="stop")


async def test_a_request_id_of_another_call_stops_nothing(engine: Engine) -> None:
    await engine.create("job", request_id="create")
    await engine.create("other")
    await engine.jobs.stop("other", request_id="stop")
    for used in ("create", "stop"):
        with pytest.raises(Conflict, match=used):
            await engine.jobs.stop("job", request_id=used)
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    with pytest.raises(Conflict):
        await engine.jobs.stop_training_job(assignment.training_job_name, request_id="create")
    trial = await engine.store.trial(assignment.training_job_name)
    assert trial is not None
    assert trial.trial.status is TrainingJobStatus.IN_PROGRESS


async def test_stopping_a_training_job_is_for_open_ones(engine: Engine) -> None:
    await engine.create("job", jobs=2)
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    name = assignment.training_job_name
    await engine.jobs.stop_training_job(name, request_id="stop")
    await engine.jobs.stop_training_job(name, request_id="stop")
    with pytest.raises(InvalidState, match="in status Stopping"):
        await engine.jobs.stop_training_job(name, request_id=None)
    assert (await runner.next()).stop.training_job_name == name
    await runner.report(assignment, ended(ev.Outcome.STOPPED))
    with pytest.raises(InvalidState, match="in status Stopped"):
        await engine.jobs.stop_training_job(name, request_id=None)
    with pytest.raises(TrainingJobNotFound):
        await engine.jobs.stop_training_job("nobody", request_id=None)
    assert (await runner.assignment()).training_job_name != name


async def test_only_an_ended_training_job_is_deleted_and_once(engine: Engine) -> None:
    await engine.create("job", jobs=2)
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    name = assignment.training_job_name
    with pytest.raises(TrainingJobInUse, match=f"{name} is InProgress; stop it first"):
        await engine.jobs.delete_training_job(name, request_id=None)
    await runner.report(assignment, ended())
    before = (await engine.jobs.read("job")).job.counters
    await engine.jobs.delete_training_job(name, request_id="delete")
    await engine.jobs.delete_training_job(name, request_id="delete")
    for request_id in (None, "another"):
        with pytest.raises(ResourceNotFound, match=name):
            await engine.jobs.delete_training_job(name, request_id=request_id)
    with pytest.raises(TrainingJobNotFound):
        await engine.jobs.stop_training_job(name, request_id=None)
    second = await runner.assignment()
    with pytest.raises(Conflict, match="delete"):
        await engine.jobs.delete_training_job(second.training_job_name, request_id="delete")
    assert (await engine.jobs.read("job")).job.counters == before
    await runner.report(second, ended())
    assert await _settled(engine, "job") is TuningJobStatus.COMPLETED


async def test_only_an_ended_job_is_deleted(engine: Engine) -> None:
    await engine.create("job")
    with pytest.raises(InvalidState, match="not in a terminal state"):
        await engine.jobs.delete("job", request_id=None)
    await engine.jobs.stop("job", request_id=None)
    await _settled(engine, "job")
    await engine.jobs.delete("job", request_id=None)
    with pytest.raises(ResourceNotFound):
        await engine.jobs.delete("job", request_id=None)
    await engine.create("job")


async def test_a_repeated_deletion_gets_the_first_answer_whatever_bears_the_name(
    engine: Engine,
) -> None:
    await engine.create("job")
    await engine.jobs.stop("job", request_id=None)
    await _settled(engine, "job")
    await engine.jobs.delete("job", request_id="delete")
    await engine.jobs.delete("JOB", request_id="delete")
    await engine.create("job")
    await engine.jobs.delete("job", request_id="delete")
    assert (await engine.jobs.read("job")).job.status is TuningJobStatus.IN_PROGRESS
    with pytest.raises(ResourceNotFound):
        await engine.jobs.delete("other", request_id="another")
    with pytest.raises(Conflict, match="delete"):
        await engine.jobs.delete("other", request_id="delete")


async def test_reports_are_durable_when_taken_in(engine: Engine) -> None:
    await engine.create("job")
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    values = [ev.MetricEmitted(metric_name="loss", value=float(n)) for n in range(500)]
    await runner.report(assignment, *values)
    stored = await engine.store.measurements(assignment.training_job_name)
    assert [(step, value) for _, step, value, _ in stored] == [
        (n + 1, float(n)) for n in range(500)
    ]


async def test_a_gap_is_told_and_what_came_before_it_is_kept(engine: Engine) -> None:
    await engine.create("job")
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    name = assignment.training_job_name
    news: list[ev.Report] = [ev.StageReached(stage=ev.Stage.TRAINING), ended(), ended()]
    reports = [reported(name, seq, each) for seq, each in zip((1, 3, 4), news, strict=True)]
    with pytest.raises(SequenceGap) as gap:
        await engine.jobs.report("a", reports)
    assert (gap.value.stored, gap.value.got) == (1, 3)
    trial = await engine.store.trial(name)
    assert trial is not None
    assert trial.trial.reported_sequence == 1


async def test_a_strategy_that_breaks_down_fails_its_job_and_no_other(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: DesignSuggester, __: int, ___: int) -> ev.SuggestionsArrived:
        raise ArithmeticError("the matrix is singular")

    with monkeypatch.context() as patched:
        patched.setattr(DesignSuggester, "_suggest", broken)
        await engine.create("job")
        assert await _settled(engine, "job") is TuningJobStatus.FAILED
    reason = (await engine.jobs.read("job")).job.failure_reason
    assert reason == "InternalServerError: ArithmeticError: the matrix is singular"
    await engine.create("other")
    runner = await engine.connect("a")
    await runner.report(await runner.assignment(), ended())
    assert await _settled(engine, "other") is TuningJobStatus.COMPLETED


async def test_a_job_created_just_before_the_end_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("job", jobs=2, parallel=1)
    async with running_engine(tmp_path) as engine:
        runner = await engine.connect("a")
        for _ in range(2):
            await runner.report(await runner.assignment(), ended())
        assert await _settled(engine, "job") is TuningJobStatus.COMPLETED


async def test_suggestions_after_a_restart_go_on_where_they_were(tmp_path: Path) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()

    async def run(folder: Path, *, restart_after: int | None) -> list[dict[str, str]]:
        seen: list[dict[str, str]] = []
        while len(seen) < 6:
            async with running_engine(folder) as engine:
                if not seen:
                    await engine.jobs.create(tuning_request("job", jobs=6), seed=3, request_id=None)
                runner = await engine.connect(f"r{len(seen)}")
                for _ in range(6 - len(seen) if restart_after is None else restart_after):
                    assignment = await runner.assignment()
                    seen.append(dict(assignment.hyper_parameters))
                    await runner.report(assignment, ended())
        return seen

    whole = await run(tmp_path / "whole", restart_after=None)
    broken = await run(tmp_path / "broken", restart_after=2)
    assert broken == whole
    assert len({tuple(sorted(each.items())) for each in whole}) == 6


async def test_a_job_past_its_deadline_ends_when_the_server_is_back(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        request = tuning_request("job")
        limits = request.hyper_parameter_tuning_job_config.resource_limits
        limits.max_runtime_in_seconds = 120
        await engine.jobs.create(request, seed=1, request_id=None)
    later = datetime.now(UTC).timestamp() + 121
    async with running_engine(tmp_path, clock=lambda: datetime.fromtimestamp(later, UTC)) as engine:
        assert await _settled(engine, "job") is TuningJobStatus.COMPLETED


async def test_quotas_hold_for_what_is_created_at_once_and_let_repeats_through(
    tmp_path: Path,
) -> None:
    site = replace(SITE, quotas=Quotas(tuning_jobs=2))
    async with running_engine(tmp_path, site=site) as engine:
        results = await asyncio.gather(
            *(engine.create(f"job-{number}", request_id=f"key-{number}") for number in range(3)),
            return_exceptions=True,
        )
        (refused,) = [each for each in results if isinstance(each, ResourceLimitExceeded)]
        assert "'tuning_jobs' is 2 Instances" in str(refused)
        number = results.index(refused)
        assert await engine.store.job(f"job-{number}") is None
        taken = next(n for n in range(3) if n != number)
        assert await engine.create(f"job-{taken}", request_id=f"key-{taken}") == results[taken]
        await engine.jobs.stop(f"job-{taken}", request_id=None)
        await engine.create(f"job-{number}")
