"""Placing trials on runners, and leases over disconnects, restarts and deaths."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.server.engine.engine_parts import LIMIT_S, Engine, Runner, ended, running_engine
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import Conflict
from tunesmith_server.domain.states import SecondaryStatus, TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.trial import FailureKind
from tunesmith_server.engine import fleet as fleet_module
from tunesmith_server.engine.fleet import Session
from tunesmith_server.engine.watch import Watch
from tunesmith_server.store.store import StoredTrial


async def _trial(engine: Engine, assignment: pb.TrialAssignment) -> StoredTrial:
    stored = await engine.store.trial(assignment.training_job_name)
    assert stored is not None
    return stored


async def _ended_status(engine: Engine, name: str) -> TuningJobStatus:
    """Wait until a tuning job has ended."""
    job = await engine.jobs.read(name)
    watch = Watch(store=engine.store, fan_out=engine.fan_out, is_open=engine.jobs.is_open)
    async with asyncio.timeout(LIMIT_S):
        async for _ in watch.events(job.job.job_id, after=0):
            pass
    return (await engine.jobs.read(name)).job.status


def _held(assignment: pb.TrialAssignment) -> pb.HeldTrial:
    return pb.HeldTrial(
        training_job_name=assignment.training_job_name, lease_token=assignment.lease_token
    )


# --- placement ----------------------------------------------------------------------------


async def test_a_runner_gets_as_many_trials_as_it_has_slots(engine: Engine) -> None:
    await engine.create("job", jobs=5, parallel=5)
    runner = await engine.connect("a", slots=2)
    first, second = [await runner.assignment() for _ in range(2)]
    assert first.training_job_name.startswith("job-001-")
    assert second.training_job_name.startswith("job-002-")
    assert (first.lease_token, second.lease_token) == (1, 1)
    assert await runner.has_nothing()

    await runner.report(first, ended())
    third = await runner.assignment()
    assert third.training_job_name.startswith("job-003-")


async def test_trials_wait_for_a_runner(engine: Engine) -> None:
    await engine.create("job", jobs=1)
    runner = await engine.connect("late")
    assert (await runner.assignment()).hyper_parameter_tuning_job_name == "job"


async def test_trials_go_where_most_slots_are_free(engine: Engine) -> None:
    small, large = await engine.connect("small", slots=1), await engine.connect("large", slots=3)
    await engine.create("job", jobs=2, parallel=2)
    for _ in range(2):
        await large.assignment()
    assert await small.has_nothing()


async def test_trials_go_only_where_their_gpus_are_free(engine: Engine) -> None:
    plain = await engine.connect("plain", slots=8)
    gpus = await engine.connect("gpus", slots=8, gpus=3)
    await engine.create("job", jobs=3, parallel=3, instance_type="two.gpus")
    first = await gpus.assignment()
    assert first.gpu_count == 2
    assert await gpus.has_nothing()
    assert await plain.has_nothing()
    await gpus.report(first, ended())
    assert (await gpus.assignment()).gpu_count == 2


async def test_a_trial_that_fits_passes_one_that_waits_for_gpus(engine: Engine) -> None:
    runner = await engine.connect("gpus", slots=4, gpus=1)
    await engine.create("wide", instance_type="two.gpus")
    await engine.create("slim", instance_type="one.gpu")
    assert (await runner.assignment()).hyper_parameter_tuning_job_name == "slim"


async def test_trials_without_gpus_leave_the_runners_that_have_some(engine: Engine) -> None:
    gpus, plain = await engine.connect("gpus", slots=9, gpus=1), await engine.connect("plain")
    await engine.create("job")
    await plain.assignment()
    assert await gpus.has_nothing()


async def test_a_draining_runner_gets_no_more(engine: Engine) -> None:
    leaving = await engine.connect("leaving", slots=2)
    engine.fleet.drain("leaving")
    await engine.create("job")
    assert await leaving.has_nothing()
    other = await engine.connect("other")
    await other.assignment()


async def test_a_trial_given_back_is_handed_out_again_under_a_new_lease(engine: Engine) -> None:
    await engine.create("job")
    leaving = await engine.connect("leaving")
    first = await leaving.assignment()
    engine.fleet.drain("leaving")
    metric = ev.MetricEmitted(metric_name="loss", value=1.0)
    await leaving.report(first, metric, ended(ev.Outcome.RETURNED))
    assert await engine.store.measurements(first.training_job_name) == ()

    other = await engine.connect("other")
    again = await other.assignment()
    assert again.training_job_name == first.training_job_name
    assert again.lease_token == 2
    assert again.hyper_parameters == first.hyper_parameters
    await other.report(again, metric, ended())
    assert await _ended_status(engine, "job") is TuningJobStatus.COMPLETED


async def test_a_trial_stopped_while_it_waits_is_handed_to_nobody(engine: Engine) -> None:
    await engine.create("job", jobs=1)
    watch = Watch(store=engine.store, fan_out=engine.fan_out, is_open=engine.jobs.is_open)
    job = await engine.jobs.read("job")
    async with asyncio.timeout(LIMIT_S):
        async for event in watch.events(job.job.job_id, after=0):
            if event.HasField("training_job"):
                break
    name = event.training_job.summary.training_job_name
    await engine.jobs.stop_training_job(name, request_id=None)
    assert await _ended_status(engine, "job") is TuningJobStatus.COMPLETED
    runner = await engine.connect("late")
    assert await runner.has_nothing()


async def test_a_trial_leased_and_stopped_in_one_commit_is_told_to_stop_once_it_has_it(
    engine: Engine,
) -> None:
    await engine.create("job", jobs=1)
    (coordinator,) = engine.jobs._coordinators.values()
    async with asyncio.timeout(LIMIT_S):
        while not coordinator.state.trials:  # noqa: ASYNC110 - nothing tells of a launch alone
            await asyncio.sleep(0)
    runner = await engine.connect("a")
    await asyncio.sleep(0)  # the lease is on its way to the coordinator
    await coordinator.post(ev.JobStopRequested())
    assert (await runner.next()).HasField("stop")  # of a trial that it does not have yet
    first = await runner.assignment()
    message = await runner.next()
    assert message.stop.training_job_name == first.training_job_name
    await runner.report(first, ended(ev.Outcome.STOPPED))
    assert await _ended_status(engine, "job") is TuningJobStatus.STOPPED


# --- leases -------------------------------------------------------------------------------


async def test_a_runner_that_comes_back_resumes_what_it_holds(engine: Engine) -> None:
    await engine.create("job")
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    await runner.report(assignment, ev.StageReached(stage=ev.Stage.TRAINING))
    runner.leave()

    back = await engine.connect("a", held=[_held(assignment)])
    (resumed,) = back.welcome.resumed
    assert (resumed.training_job_name, resumed.lease_token, resumed.sequence) == (
        assignment.training_job_name,
        1,
        1,
    )
    assert not back.welcome.revoked
    assert await back.has_nothing()


async def test_an_assignment_that_never_arrived_is_sent_again(engine: Engine) -> None:
    await engine.create("job")
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    runner.leave()
    back = await engine.connect("a")
    assert not back.welcome.resumed
    assert await back.assignment() == assignment


async def test_a_stop_that_was_missed_is_sent_again(engine: Engine) -> None:
    await engine.create("job")
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    runner.leave()
    await engine.jobs.stop("job", request_id=None)
    back = await engine.connect("a", held=[_held(assignment)])
    message = await back.next()
    assert message.stop.training_job_name == assignment.training_job_name
    await back.report(assignment, ended(ev.Outcome.STOPPED))
    assert await _ended_status(engine, "job") is TuningJobStatus.STOPPED


@pytest.mark.parametrize("token", [2, 99])
async def test_a_trial_held_under_another_lease_is_revoked(engine: Engine, token: int) -> None:
    await engine.create("job")
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    runner.leave()
    stale = _held(assignment)
    stale.lease_token = token
    unknown = pb.HeldTrial(training_job_name="nobodys", lease_token=1)
    back = await engine.connect("a", held=[stale, unknown])
    assert list(back.welcome.revoked) == [stale, unknown]
    assert await back.assignment() == assignment


async def test_a_trial_that_another_instance_holds_is_revoked(engine: Engine) -> None:
    await engine.create("job")
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    other = await engine.connect("b", held=[_held(assignment)])
    assert list(other.welcome.revoked) == [_held(assignment)]
    assert not other.welcome.resumed


async def test_reports_of_a_trial_that_another_instance_holds_are_dropped(engine: Engine) -> None:
    await engine.create("job")
    runner, thief = await engine.connect("a"), await engine.connect("b")
    assignment = await _either(runner, thief)
    holder, other = (runner, thief) if await thief.has_nothing() else (thief, runner)
    await other.report(assignment, ended(ev.Outcome.FAILED))
    trial = (await _trial(engine, assignment)).trial
    assert trial.secondary_status is SecondaryStatus.STARTING
    await holder.report(assignment, ended())
    assert await _ended_status(engine, "job") is TuningJobStatus.COMPLETED


async def _either(*runners: Runner) -> pb.TrialAssignment:
    """Wait for an assignment to any of them."""
    waiting = [asyncio.create_task(runner.next()) for runner in runners]
    done, pending = await asyncio.wait(
        waiting, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT_S
    )
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return done.pop().result().assignment


async def test_a_runner_that_stays_away_loses_its_trials(tmp_path: Path) -> None:
    async with running_engine(tmp_path, lease=timedelta(seconds=0.05)) as engine:
        await engine.create("job")
        runner = await engine.connect("a")
        assignment = await runner.assignment()
        runner.leave()
        assert await _ended_status(engine, "job") is TuningJobStatus.FAILED
        trial = (await _trial(engine, assignment)).trial
        assert trial.status is TrainingJobStatus.FAILED
        assert trial.failure_kind is FailureKind.RETRYABLE
        assert trial.failure_reason == (
            "InternalServerError: the runner runner a has been away for more than 0.05 s"
        )
        back = await engine.connect("a", held=[_held(assignment)])
        assert list(back.welcome.revoked) == [_held(assignment)]


async def test_a_connected_runner_keeps_its_lease_however_long_it_takes(tmp_path: Path) -> None:
    async with running_engine(tmp_path, lease=timedelta(seconds=0.05)) as engine:
        await engine.create("job")
        runner = await engine.connect("a")
        assignment = await runner.assignment()
        leaver = await engine.connect("b")
        await engine.create("other")
        await leaver.assignment()
        leaver.leave()
        # Leases were looked at, and only the leaver's was over.
        assert await _ended_status(engine, "other") is TuningJobStatus.FAILED
        trial = (await _trial(engine, assignment)).trial
        assert trial.status is TrainingJobStatus.IN_PROGRESS


async def test_a_successor_takes_its_dead_predecessors_trials_away_at_once(engine: Engine) -> None:
    await engine.create("job", jobs=4, parallel=2)
    dead = await engine.connect("dead", slots=2)
    lost = [await dead.assignment() for _ in range(2)]
    # Its connection has not broken yet: it must get none of the trials that follow.
    heir = await engine.connect("heir", slots=2, replaced=["dead", "long-gone"])
    fresh = [await heir.assignment() for _ in range(2)]
    assert await dead.has_nothing()
    for assignment in lost:
        trial = (await _trial(engine, assignment)).trial
        assert trial.failure_reason == "InternalServerError: the runner runner heir was restarted"
    for assignment in fresh:
        await heir.report(assignment, ended())
    assert await _ended_status(engine, "job") is TuningJobStatus.COMPLETED


async def test_a_runner_that_is_back_while_its_losses_are_written_gets_trials_again(
    engine: Engine,
) -> None:
    await engine.create("job", jobs=3)
    runner = await engine.connect("a")
    assignment = await runner.assignment()
    runner.leave()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(engine.fleet._lose("a", "it has been away"))
        await asyncio.sleep(0)
        back = await engine.connect("a", held=[_held(assignment)])
    fresh = await back.assignment()
    assert fresh.training_job_name != assignment.training_job_name
    await back.report(fresh, ended())
    await back.assignment()


async def test_the_same_instance_on_a_new_connection_ends_the_old_one(engine: Engine) -> None:
    await engine.create("job")
    first = await engine.connect("a")
    assignment = await first.assignment()
    second = await engine.connect("a", held=[_held(assignment)])
    with pytest.raises(Conflict):
        await first.next()
    first.leave()  # which is late, and must not end the second one
    await second.report(assignment, ended())
    await engine.create("next")
    await second.assignment()
    assert await _ended_status(engine, "job") is TuningJobStatus.COMPLETED


# --- restarts -----------------------------------------------------------------------------


async def test_a_restarted_server_knows_the_leases_that_were_given_before(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("job", jobs=3, parallel=2)
        runner = await engine.connect("a", slots=2)
        first, second = [await runner.assignment() for _ in range(2)]
        await runner.report(first, ev.StageReached(stage=ev.Stage.TRAINING))
    async with running_engine(tmp_path) as engine:
        other = await engine.connect("b", slots=2)
        assert await other.has_nothing()
        back = await engine.connect("a", slots=2, held=[_held(first)])
        (resumed,) = back.welcome.resumed
        assert resumed.sequence == 1
        assert await back.assignment() == second
        await engine.jobs.report("a", [])
        await back.report(second, ended())
        third = await _either(back, other)
        assert third.training_job_name.startswith("job-003-")


async def test_trials_of_a_runner_that_did_not_survive_the_restart_fail_after_the_lease(
    tmp_path: Path,
) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("job")
        runner = await engine.connect("a")
        assignment = await runner.assignment()
    async with running_engine(tmp_path, lease=timedelta(seconds=0.05)) as engine:
        assert await _ended_status(engine, "job") is TuningJobStatus.FAILED
        trial = (await _trial(engine, assignment)).trial
        assert trial.failure_kind is FailureKind.RETRYABLE


async def test_waiting_trials_are_placed_after_a_restart(tmp_path: Path) -> None:
    async with running_engine(tmp_path) as engine:
        await engine.create("job", jobs=2, parallel=2)
    async with running_engine(tmp_path) as engine:
        runner = await engine.connect("a", slots=2)
        names = [(await runner.assignment()).training_job_name[:8] for _ in range(2)]
        assert names == ["job-001-", "job-002-"]


# --- sessions -----------------------------------------------------------------------------


async def test_a_runner_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_OUTGOING_LIMIT", 2)
    session = Session()
    for _ in range(3):
        session.send(pb.ConnectResponse(heartbeat=pb.RunnerHeartbeat()))
    for _ in range(2):
        assert (await session.next_message()).HasField("heartbeat")
    with pytest.raises(Conflict, match="connect again"):
        await session.next_message()
