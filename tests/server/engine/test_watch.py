"""Watchers get every event once, in order, until the end; and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pytest

from tests.server.engine.engine_parts import LIMIT_S, Engine, ended, reported
from tunesmith.v1 import event_pb2
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import TrainingJobNotFound
from tunesmith_server.engine.fan_out import FanOut
from tunesmith_server.engine.watch import Watch
from tunesmith_server.store.store import TrialQuery

Event = event_pb2.WatchHyperParameterTuningJobResponse
TUNING_JOB: Final = event_pb2.WATCH_EVENT_KIND_TUNING_JOB
METRIC: Final = event_pb2.WATCH_EVENT_KIND_METRIC
LOG: Final = event_pb2.WATCH_EVENT_KIND_LOG


def _watch(engine: Engine) -> Watch:
    return Watch(store=engine.store, fan_out=engine.fan_out, is_open=engine.jobs.is_open)


async def _all(
    watch: Watch,
    job_id: int,
    *,
    after: int = 0,
    trial_name: str | None = None,
    kinds: Iterable[event_pb2.WatchEventKind.ValueType] = (),
) -> list[Event]:
    events = watch.events(job_id, after=after, trial_name=trial_name, kinds=frozenset(kinds))
    async with asyncio.timeout(LIMIT_S):
        return [event async for event in events]


async def _run(engine: Engine, name: str, *, metrics: int = 3) -> int:
    """Run a tuning job of one training job; returns its number."""
    await engine.create(name)
    runner = await engine.connect(f"runner-{name}")
    assignment = await runner.assignment()
    job_id = (await engine.jobs.read(name)).job.job_id
    values = [ev.MetricEmitted(metric_name="loss", value=float(n)) for n in range(metrics)]
    await runner.report(assignment, *values, ended())
    runner.leave()
    return job_id


async def test_a_deleted_training_job_cannot_be_watched(engine: Engine) -> None:
    job_id = await _run(engine, "job")
    (item,) = (await engine.store.list_trials(TrialQuery(job_id=job_id))).items
    name = item.trial.name
    everything = await _all(_watch(engine), job_id)
    await engine.jobs.delete_training_job(name, request_id=None)
    with pytest.raises(TrainingJobNotFound):
        await _all(_watch(engine), job_id, trial_name=name)
    assert await _all(_watch(engine), job_id) == everything


async def test_watchers_before_during_and_after_see_the_same(engine: Engine) -> None:
    await engine.create("job")
    job_id = (await engine.jobs.read("job")).job.job_id
    before = asyncio.create_task(_all(_watch(engine), job_id))
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    during = asyncio.create_task(_all(_watch(engine), job_id))
    await runner.report(assignment, ev.MetricEmitted(metric_name="loss", value=1.5), ended())

    first, second = await before, await during
    assert first == second == await _all(_watch(engine), job_id)
    sequences = [event.sequence for event in first]
    assert sequences == sorted(set(sequences))
    assert [event.metric.value for event in first if event.HasField("metric")] == [1.5]


async def test_a_watcher_goes_on_after_what_it_has_seen(engine: Engine) -> None:
    job_id = await _run(engine, "job")
    whole = await _all(_watch(engine), job_id)
    for seen in range(len(whole)):
        rest = await _all(_watch(engine), job_id, after=whole[seen].sequence)
        assert rest == whole[seen + 1 :]


async def test_more_events_than_a_page_holds_come_all(engine: Engine) -> None:
    job_id = await _run(engine, "job", metrics=1200)
    values = [
        event.metric.value
        for event in await _all(_watch(engine), job_id)
        if event.HasField("metric")
    ]
    assert values == [float(n) for n in range(1200)]


async def test_a_watcher_of_one_job_sees_nothing_of_another(engine: Engine) -> None:
    first, second = await _run(engine, "one"), await _run(engine, "two")
    names = {
        event.training_job.summary.tuning_job_name
        for event in await _all(_watch(engine), second)
        if event.HasField("training_job")
    }
    assert names == {"two"}
    assert first != second


async def _run_two(engine: Engine) -> tuple[int, list[str]]:
    """Run a tuning job of two training jobs, one after the other, each with a line and a value."""
    await engine.create("job", jobs=2)
    runner = await engine.connect("a")
    names = []
    for number in range(2):
        assignment = await runner.assignment()
        names.append(assignment.training_job_name)
        line = ev.OutputWritten(lines=(f"of {number}",))
        value = ev.MetricEmitted(metric_name="loss", value=float(number))
        await runner.report(assignment, line, value, ended())
    return (await engine.jobs.read("job")).job.job_id, names


def _about(event: Event) -> str:
    """Give the name of the training job that an event is about; empty: about the tuning job."""
    return (
        event.training_job.summary.training_job_name
        or event.metric.training_job_name
        or event.log.training_job_name
    )


async def test_a_watcher_of_one_training_job_sees_it_and_the_tuning_job(engine: Engine) -> None:
    job_id, (_, second) = await _run_two(engine)
    whole = await _all(_watch(engine), job_id)
    seen = await _all(_watch(engine), job_id, trial_name=second.upper())
    assert seen == [event for event in whole if _about(event) in ("", second)]
    assert {event.WhichOneof("event") for event in seen} == {
        *("tuning_job", "training_job", "metric", "log")
    }


async def test_a_watcher_of_kinds_sees_those_and_the_end(engine: Engine) -> None:
    job_id, (first, _) = await _run_two(engine)
    *whole, last = await _all(_watch(engine), job_id)
    logs = [event for event in whole if event.HasField("log")]
    metrics = [event for event in whole if event.HasField("metric")]
    own = [event for event in whole if event.HasField("tuning_job")]
    assert len(logs) == len(metrics) == 2
    assert own
    assert await _all(_watch(engine), job_id, kinds={LOG}) == [*logs, last]
    both = await _all(_watch(engine), job_id, kinds={LOG, METRIC})
    assert both == [event for event in whole if event in logs or event in metrics] + [last]
    assert await _all(_watch(engine), job_id, kinds={TUNING_JOB}) == [*own, last]
    of_one = await _all(_watch(engine), job_id, trial_name=first, kinds={LOG})
    assert of_one == [logs[0], last]


async def test_a_filtered_watch_that_goes_on_after_the_last_match_ends(engine: Engine) -> None:
    job_id, (first, _) = await _run_two(engine)
    *_, match, last = await _all(_watch(engine), job_id, trial_name=first, kinds={LOG})
    watch = _watch(engine)
    rest = await _all(watch, job_id, after=match.sequence, trial_name=first, kinds={LOG})
    assert rest == [last]
    assert await _all(watch, job_id, after=last.sequence, trial_name=first, kinds={LOG}) == []


async def test_a_filtered_watch_reads_no_event_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    events = engine.store.events

    async def recorded(*args: Any, **kwargs: Any) -> Sequence[Event]:
        page = await events(*args, **kwargs)
        read.extend(event.sequence for event in page)
        return page

    await engine.create("job")
    job_id = (await engine.jobs.read("job")).job.job_id
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    monkeypatch.setattr(engine.store, "events", recorded)
    watching = asyncio.create_task(_all(_watch(engine), job_id, kinds={LOG}))
    news = [ev.OutputWritten(lines=(str(number),)) for number in range(5)]
    for sequence, line in enumerate(news, start=1):
        report = reported(
            assignment.training_job_name, sequence, line, lease=assignment.lease_token
        )
        await engine.jobs.report("a", [report])
    end = reported(assignment.training_job_name, 6, ended(), lease=assignment.lease_token)
    await engine.jobs.report("a", [end])
    seen = await watching
    assert [list(event.log.lines) for event in seen] == [*(["0"], ["1"], ["2"], ["3"], ["4"]), []]
    assert len(read) == len(set(read))


async def test_an_unknown_training_job_is_not_watched(engine: Engine) -> None:
    job_id = await _run(engine, "one")
    await _run(engine, "two")
    (theirs,) = {
        event.metric.training_job_name
        for event in await _all(_watch(engine), (await engine.jobs.read("two")).job.job_id)
        if event.HasField("metric")
    }
    for name in ("nobody", theirs):
        with pytest.raises(TrainingJobNotFound):
            await _all(_watch(engine), job_id, trial_name=name)


async def test_nothing_is_kept_for_watchers_of_ended_jobs(engine: Engine) -> None:
    for number in range(3):
        job_id = await _run(engine, f"job-{number}")
        await _all(_watch(engine), job_id)
        await _all(_watch(engine), job_id, after=10_000)
    assert engine.fan_out._calls == {}


async def test_a_change_wakes_everyone_who_waits_for_it_and_nobody_else() -> None:
    fan_out = FanOut()
    mine, same, other = fan_out.next_change(1), fan_out.next_change(1), fan_out.next_change(2)
    fan_out.changed(1)
    assert mine.is_set()
    assert same.is_set()
    assert not other.is_set()
    assert not fan_out.next_change(1).is_set()
    fan_out.changed(3)
