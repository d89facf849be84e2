"""Watchers get every event once, in order, until the end; and leave nothing behind."""

from __future__ import annotations

import asyncio

from tests.server.engine.engine_parts import LIMIT_S, Engine, ended
from tunesmith.v1 import event_pb2
from tunesmith_server.domain import events as ev
from tunesmith_server.engine.fan_out import FanOut
from tunesmith_server.engine.watch import Watch

Event = event_pb2.WatchHyperParameterTuningJobResponse


def _watch(engine: Engine) -> Watch:
    return Watch(store=engine.store, fan_out=engine.fan_out, is_open=engine.jobs.is_open)


async def _all(watch: Watch, job_id: int, *, after: int = 0) -> list[Event]:
    async with asyncio.timeout(LIMIT_S):
        return [event async for event in watch.events(job_id, after=after)]


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
