"""What becomes of trials that rest at rungs, and of the tuning job around them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.server.domain.job_specs import job_spec
from tests.server.domain.tuning_job_driver import Driver
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import InvalidState
from tunesmith_server.domain.states import SecondaryStatus, TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.tuning_job import Counters
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict

METRIC = "validation:loss"
IN_PROGRESS, COMPLETED = TuningJobStatus.IN_PROGRESS, TuningJobStatus.COMPLETED


def driver(
    *,
    jobs: int = 3,
    parallel: int = 1,
    retries: int = 0,
    target: float | None = None,
    max_runtime: timedelta | None = None,
) -> Driver:
    spec = job_spec(
        jobs=jobs,
        parallel=parallel,
        retries=retries,
        target=target,
        max_runtime=max_runtime,
        resumes=True,
        pauses=True,
    )
    job = Driver(spec)
    job.suggest()
    return job


def verdict(value: float) -> StoppingVerdict:
    return StoppingVerdict(
        rule=StoppingRule.PAUSED, resource=1, value=value, rung=1, rank=1, entries=1
    )


def reach(job: Driver, index: int, value: float = 0.5) -> list[fx.Command]:
    """See a waiting trial through to a rung; gives what follows from that."""
    job.assign(index)
    job.reach(index, ev.Stage.TRAINING)
    job.emit(index, value)
    token = job.trial(index).lease_token
    return job.decide(
        ev.TrialReachedRung(trial_name=job.name(index), lease_token=token, verdict=verdict(value))
    )


def pause(job: Driver, index: int, value: float = 0.5) -> list[fx.Command]:
    """See a waiting trial through to its rest; gives what follows from that."""
    reach(job, index, value)
    return job.end(index, ev.Outcome.RETURNED)


def promote(job: Driver, *indices: int) -> list[fx.Command]:
    """Answer the ask who may go on."""
    names = tuple(job.name(index) for index in indices)
    number = job.state.promotions.number
    return job.decide(ev.PromotionsArrived(number=number, trial_names=names))


def test_a_trial_at_a_rung_is_asked_back_keeps_its_place_until_then_and_rests() -> None:
    job = driver()
    (command,) = reach(job, 1)
    assert command == fx.StopOnRunner(
        trial_name=job.name(1), lease_token=1, instance_id="a-1", gives_back=True
    )
    assert job.trial(1).secondary_status is SecondaryStatus.TRAINING
    assert job.state.placed == 1
    commands = job.end(1, ev.Outcome.RETURNED)
    assert commands == [
        fx.Release(trial_name=job.name(1), instance_id="a-1"),
        fx.Promote(number=1, is_last=False),
    ]
    resting = job.trial(1)
    assert (resting.status, resting.secondary_status) == (
        TrainingJobStatus.IN_PROGRESS,
        SecondaryStatus.INTERRUPTED,
    )
    assert resting.transitions[-1].message == (
        "Paused at rung 1, resource 1: its objective, 0.5, was number 1 of 1"
    )
    assert resting.verdict == verdict(0.5)
    assert resting.metrics[METRIC].value == 0.5
    assert job.state.placed == 0


def test_where_nobody_may_go_on_a_new_trial_is_launched() -> None:
    job = driver()
    pause(job, 1)
    assert promote(job) == [fx.Suggest(first_index=2, count=1)]


def test_a_promoted_trial_goes_on_under_its_name_with_what_it_measured() -> None:
    job = driver()
    pause(job, 1, 0.5)
    commands = promote(job, 1)
    waiting = job.trial(1)
    assert commands == [fx.Enqueue(trial=waiting)]
    assert (waiting.secondary_status, waiting.verdict) == (SecondaryStatus.PENDING, None)
    assert not waiting.pause_requested
    assert job.state.placed == 1
    assert job.job.launched == 1
    job.run(1, 0.25)
    ended = job.trial(1)
    assert (ended.status, ended.objective_value) == (TrainingJobStatus.COMPLETED, 0.25)
    assert (ended.lease_token, ended.metrics[METRIC].step) == (2, 2)


def test_the_time_of_rest_is_not_running_time() -> None:
    job = driver()
    pause(job, 1)  # from Training to its end: a minute for the value, the rung and the end each
    assert job.trial(1).spent == timedelta(minutes=3)
    began = job.trial(1).last_started_at
    assert began is not None
    job.now += timedelta(hours=5)
    promote(job, 1)
    assert job.trial(1).last_started_at == began
    job.assign(1)
    job.reach(1, ev.Stage.TRAINING)
    job.end(1)
    ended = job.trial(1)
    assert ended.ended_at is not None
    assert ended.runtime(ended.ended_at) == timedelta(minutes=4)
    told = [each for each in job.decisions.store.events if each.HasField("training_job")]
    assert told[-1].training_job.summary.training_time_in_seconds == 240


def test_an_answer_that_is_outdated_changes_nothing() -> None:
    job = driver(parallel=2)
    pause(job, 1)
    number = job.state.promotions.number
    pause(job, 2)
    late = ev.PromotionsArrived(number=number, trial_names=())
    assert job.decide(late) == []
    assert job.state.promotions.is_asked


def test_no_more_go_on_than_there_are_places() -> None:
    job = driver(jobs=4, parallel=2)
    pause(job, 1)
    promote(job)
    job.suggest()
    pause(job, 2)
    promote(job)
    job.suggest()
    pause(job, 3)
    assert (job.state.placed, job.state.resumable) == (1, 1)
    promote(job, 3, 2)
    assert [job.trial(k).is_paused for k in (1, 2, 3)] == [True, True, False]
    assert not job.state.promotions.is_known, "one more may go on when there is a place"
    job.assign(4)
    assert fx.Promote(number=4, is_last=False) in job.end(4)


def test_the_last_ask_says_so_and_nobody_s_going_on_ends_the_tuning_job() -> None:
    job = driver(jobs=2)
    pause(job, 1, 0.5)
    promote(job)
    job.suggest()
    assert pause(job, 2, 0.25)[-1] == fx.Promote(number=2, is_last=True)
    promote(job, 2)
    job.run(2, 0.125)
    assert job.job.status is IN_PROGRESS
    assert promote(job) == [fx.Withdraw(trial_name=job.name(1))]
    assert job.job.status is COMPLETED
    left = job.trial(1)
    assert (left.status, left.objective_value) == (TrainingJobStatus.STOPPED, 0.5)
    assert left.verdict == verdict(0.5)
    assert left.transitions[-1].message == (
        "Training job stopped: it was paused when its tuning job ended"
    )
    assert left.spent == timedelta(minutes=3)
    told = job.decisions.store.events[-2].training_job.summary
    assert told.training_job_name == left.name
    assert told.HasField("training_start_time")
    assert job.job.counters == Counters(completed=1, stopped=1, objective_succeeded=2)
    best = job.job.best
    assert best is not None
    assert best.name == job.name(2)


@pytest.mark.parametrize("how", ["stop", "deadline", "target"])
def test_however_the_tuning_job_ends_who_rests_is_stopped_with_its_verdict(how: str) -> None:
    job = driver(parallel=2, target=0.1, max_runtime=timedelta(hours=1))
    pause(job, 1, 0.5)
    match how:
        case "stop":
            job.stop_job()
        case "deadline":
            job.reach_deadline()
        case _:
            job.run(2, 0.05)
    left = job.trial(1)
    assert (left.status, left.verdict) == (TrainingJobStatus.STOPPED, verdict(0.5))
    assert left.objective_value == 0.5


def test_a_resting_trial_stops_at_once_and_that_is_the_callers_doing() -> None:
    job = driver()
    pause(job, 1)
    job.stop(1)
    stopped = job.trial(1)
    assert (stopped.status, stopped.verdict) == (TrainingJobStatus.STOPPED, None)
    assert stopped.objective_value == 0.5
    with pytest.raises(InvalidState):
        job.stop(1)


def test_one_that_has_reached_its_own_time_limit_is_not_paused() -> None:
    job = driver()
    job.assign(1)
    job.reach(1, ev.Stage.TRAINING)
    job.emit(1, 0.5)
    job.reach(1, ev.Stage.STOPPING)
    late = ev.TrialReachedRung(trial_name=job.name(1), lease_token=1, verdict=verdict(0.5))
    assert job.decide(late) == []
    job.end(1, ev.Outcome.MAX_RUNTIME_EXCEEDED)
    assert job.trial(1).secondary_status is SecondaryStatus.MAX_RUNTIME_EXCEEDED
    assert job.trial(1).verdict is None


def test_a_stop_overtakes_a_pause() -> None:
    job = driver()
    reach(job, 1)
    assert job.stop(1) == [
        fx.StopOnRunner(trial_name=job.name(1), lease_token=1, instance_id="a-1")
    ]
    job.end(1, ev.Outcome.RETURNED)
    assert (job.trial(1).status, job.trial(1).verdict) == (TrainingJobStatus.STOPPED, None)


def test_one_that_ends_by_itself_on_its_way_out_was_paused_nowhere() -> None:
    job = driver()
    reach(job, 1)
    job.end(1, ev.Outcome.COMPLETED)
    assert (job.trial(1).status, job.trial(1).verdict) == (TrainingJobStatus.COMPLETED, None)


def test_a_lost_runner_on_the_way_out_is_a_pause_where_there_are_retries() -> None:
    job = driver(retries=1)
    reach(job, 1)
    job.lose(1)
    assert job.trial(1).is_paused
    assert job.trial(1).retries == 1
    job = driver()
    reach(job, 1)
    job.lose(1)
    assert (job.trial(1).status, job.trial(1).verdict) == (TrainingJobStatus.FAILED, None)


def test_a_crash_keeps_pauses_and_asks_again() -> None:
    job = driver(jobs=3, parallel=1)
    pause(job, 1)
    assert job.crash() == [fx.Promote(number=1, is_last=False)]
    assert job.trial(1).is_paused
    promote(job, 1)
    job.assign(1)
    reaching = job.trial(1)
    assert reaching.lease_token == 2


def test_what_an_earlier_attempt_was_judged_by_pauses_no_other() -> None:
    job = driver()
    job.assign(1)
    job.end(1, ev.Outcome.RETURNED)
    job.assign(1)
    late = ev.TrialReachedRung(trial_name=job.name(1), lease_token=1, verdict=verdict(0.5))
    assert job.decide(late) == []
    assert not job.trial(1).pause_requested


def test_failures_do_not_end_a_tuning_job_in_which_somebody_rests_with_a_value() -> None:
    job = driver(jobs=7)
    pause(job, 1)
    for index in range(2, 8):
        promote(job)
        job.suggest()
        job.fail(index)
    assert job.job.counters.failed == 6
    assert job.job.status is IN_PROGRESS
    promote(job)
    assert job.job.status is COMPLETED
