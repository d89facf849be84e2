"""What becomes of a tuning job that something interrupts: stops, losses, crashes, lateness."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.server.domain.job_specs import CREATED_AT, job_spec
from tests.server.domain.tuning_job_driver import Driver, ended
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import InvalidState
from tunesmith_server.domain.states import (
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.tuning_job import Counters

COMPLETED, FAILED, STOPPED = (
    TuningJobStatus.COMPLETED,
    TuningJobStatus.FAILED,
    TuningJobStatus.STOPPED,
)


def driver(*, jobs: int = 4, parallel: int = 2) -> Driver:
    return Driver(job_spec(jobs=jobs, parallel=parallel))


def limited(*, jobs: int = 4, parallel: int = 2) -> Driver:
    return Driver(job_spec(jobs=jobs, parallel=parallel, max_runtime=timedelta(hours=1)))


# --- stopping -----------------------------------------------------------------------------


def test_a_stopped_tuning_job_is_stopping_until_its_last_trial_has_ended() -> None:
    job = driver(jobs=4, parallel=3)
    job.suggest()
    job.assign(1)
    job.assign(2, host="b")
    commands = job.stop_job()
    assert job.job.status is TuningJobStatus.STOPPING
    assert commands == [
        fx.StopOnRunner(trial_name=job.name(1), lease_token=1, instance_id="a-1"),
        fx.StopOnRunner(trial_name=job.name(2), lease_token=1, instance_id="b-1"),
        fx.Withdraw(trial_name=job.name(3)),
    ]
    job.end(1, ev.Outcome.STOPPED)
    assert job.job.status is TuningJobStatus.STOPPING
    job.end(2)
    assert job.job.status is STOPPED
    assert job.job.counters.completed == 1
    assert job.job.counters.stopped == 2


def test_a_tuning_job_without_trials_on_runners_stops_at_once() -> None:
    for job in (driver(), Driver(job_spec(), recovered=False)):
        job.stop_job()
        assert job.job.status is STOPPED
        assert job.job.ended_at == job.now


def test_a_stop_wins_over_the_end_that_was_decided() -> None:
    job = limited(jobs=4, parallel=1)
    job.suggest()
    job.assign(1)
    job.reach_deadline()
    job.stop_job()
    assert job.job.status is TuningJobStatus.STOPPING
    job.end(1)
    assert job.job.status is STOPPED


def test_a_second_stop_and_a_stop_after_the_end_are_refused_with_the_status() -> None:
    job = driver(parallel=1)
    job.suggest()
    job.assign(1)
    job.stop_job()
    with pytest.raises(InvalidState, match=r"already in status Stopping\.$"):
        job.stop_job()
    job.end(1)
    with pytest.raises(InvalidState, match=r"already in status Stopped\.$"):
        job.stop_job()


def test_a_waiting_trial_stops_at_once_and_makes_room() -> None:
    job = driver(jobs=4, parallel=1)
    job.suggest()
    commands = job.stop(1)
    assert commands == [
        fx.Withdraw(trial_name=job.name(1)),
        fx.Suggest(first_index=2, count=1),
    ]
    assert job.trial(1).secondary_status is SecondaryStatus.STOPPED


def test_a_trial_on_a_runner_is_stopping_until_its_runner_says_how_it_ended() -> None:
    job = driver(jobs=4, parallel=1)
    job.suggest()
    job.assign(1)
    commands = job.stop(1)
    assert commands == [fx.StopOnRunner(trial_name=job.name(1), lease_token=1, instance_id="a-1")]
    assert job.trial(1).status is TrainingJobStatus.STOPPING
    with pytest.raises(InvalidState, match="in status Stopping"):
        job.stop(1)
    job.end(1, ev.Outcome.STOPPED)
    assert job.trial(1).status is TrainingJobStatus.STOPPED
    with pytest.raises(InvalidState):
        job.stop(1)


def test_a_trial_past_its_own_time_limit_is_told_to_stop_with_its_tuning_job() -> None:
    job = driver(jobs=4, parallel=1)
    job.suggest()
    job.assign(1)
    job.reach(1, ev.Stage.TRAINING, ev.Stage.STOPPING)
    assert not job.trial(1).stop_requested
    commands = job.stop_job()
    assert commands == [fx.StopOnRunner(trial_name=job.name(1), lease_token=1, instance_id="a-1")]
    assert job.trial(1).stop_requested
    job.end(1, ev.Outcome.RETURNED)
    assert job.trial(1).status is TrainingJobStatus.STOPPED
    assert job.job.status is STOPPED


# --- runners come and go ------------------------------------------------------------------


def test_a_lost_runners_trial_fails_retryably_and_the_tuning_job_goes_on() -> None:
    job = driver(jobs=2, parallel=1)
    job.suggest()
    job.assign(1)
    job.emit(1, 0.5)
    commands = job.lose(1)
    assert commands == [
        fx.Release(trial_name=job.name(1), instance_id="a-1"),
        fx.Suggest(first_index=2, count=1),
    ]
    assert job.trial(1).failure_reason == "InternalServerError: the runner a was restarted"
    assert job.job.counters == Counters(retryable_error=1, objective_failed=1)
    job.suggest()
    job.run(2, 0.5)
    assert job.job.status is COMPLETED


def test_a_trial_that_was_to_stop_is_stopped_when_its_runner_is_lost() -> None:
    job = driver(jobs=4, parallel=1)
    job.suggest()
    job.assign(1)
    job.stop_job()
    job.lose(1)
    assert job.trial(1).status is TrainingJobStatus.STOPPED
    assert job.job.status is STOPPED


def test_a_returned_trial_waits_again_as_if_it_had_never_begun() -> None:
    job = driver(jobs=4, parallel=1)
    job.suggest()
    job.assign(1)
    job.reach(1, ev.Stage.DOWNLOADING, ev.Stage.TRAINING)
    job.emit(1, 0.5, 0.25)
    commands = job.end(1, ev.Outcome.RETURNED)
    trial = job.trial(1)
    assert commands == [
        fx.Release(trial_name=job.name(1), instance_id="a-1"),
        fx.Enqueue(trial=trial),
    ], "the old place is free before a new one is looked for, perhaps on the same runner"
    assert trial.secondary_status is SecondaryStatus.PENDING
    assert trial.lease is None
    assert dict(trial.metrics) == {}
    assert trial.training_started_at is None
    assert job.decisions.store.measurements.get(trial.name) is None
    assert trial.story()[-3:] == ("Training", "Interrupted", "Pending")
    job.run(1, 0.75)
    assert job.trial(1).lease_token == 2
    assert job.trial(1).objective_value == 0.75
    assert job.trial(1).metrics["validation:loss"].step == 1
    assert job.job.launched == 1


def test_a_returned_trial_that_was_to_stop_does_not_wait_again() -> None:
    job = driver(jobs=4, parallel=1)
    job.suggest()
    job.assign(1)
    job.stop(1)
    job.end(1, ev.Outcome.RETURNED)
    assert job.trial(1).status is TrainingJobStatus.STOPPED


def test_an_assignment_that_comes_after_the_stop_gives_no_lease() -> None:
    job = driver(jobs=1, parallel=1)
    job.suggest()
    job.stop(1)
    assert job.assign(1) == []
    assert job.trial(1).lease_token == 0


def test_an_assignment_of_a_trial_that_is_held_changes_nothing() -> None:
    job = driver(parallel=1)
    job.suggest()
    job.assign(1, host="a")
    before = job.state
    assert job.assign(1, host="b") == []
    assert job.state == before


# --- crashes, lateness, time --------------------------------------------------------------


def test_a_recovered_tuning_job_queues_what_waits_and_asks_for_what_it_lacks() -> None:
    job = driver(jobs=6, parallel=4)
    job.suggest(3)
    job.assign(1)
    commands = job.crash()
    assert commands == [
        fx.Enqueue(trial=job.trial(2)),
        fx.Enqueue(trial=job.trial(3)),
        fx.Suggest(first_index=4, count=1),
    ]


def test_a_recovered_tuning_job_that_was_stopping_ends_with_its_trials() -> None:
    job = driver(jobs=6, parallel=2)
    job.suggest()
    job.assign(1)
    job.stop_job()
    assert job.crash() == []
    job.end(1, ev.Outcome.STOPPED)
    assert job.job.status is STOPPED


def test_a_recovered_tuning_job_still_has_its_deadline() -> None:
    job = limited()
    job.suggest()
    job.crash()
    assert job.state.deadline == CREATED_AT + timedelta(hours=1)
    job.reach_deadline()
    assert job.job.status is COMPLETED


def late_events(job: Driver) -> list[Callable[[], list[fx.Command]]]:
    return [
        lambda: job.decide(ev.Recovered()),
        lambda: job.suggest(2),
        lambda: job.decide(ev.SuggestionsFailed(reason="late")),
        lambda: job.assign(1),
        lambda: job.end(1),
        lambda: job.lose(1),
        lambda: job.decide(ev.DeadlinePassed()),
    ]


@pytest.mark.parametrize("end", [COMPLETED, FAILED, STOPPED])
def test_nothing_happens_after_the_end(end: TuningJobStatus) -> None:
    job = limited(jobs=1, parallel=1)
    job.suggest()
    job.assign(1)
    if end is STOPPED:
        job.stop_job()
    job.end(1, ev.Outcome.FAILED if end is FAILED else ev.Outcome.COMPLETED)
    assert job.job.status is end
    before, told = job.job, len(job.decisions.store.events)
    for late in late_events(job):
        assert late() == []
    with pytest.raises(InvalidState):
        job.stop_job()
    with pytest.raises(InvalidState):
        job.stop(1)
    assert job.job == before
    assert len(job.decisions.store.events) == told


def test_a_clock_that_is_set_back_stands_still() -> None:
    job = driver(jobs=2, parallel=1)
    job.suggest()
    job.assign(1)
    latest = job.trial(1).modified_at
    job.now = CREATED_AT - timedelta(days=1)
    job.emit(1, 0.5)
    job.end(1)
    trial = job.trial(1)
    assert trial.ended_at == trial.modified_at == latest
    assert job.job.modified_at == latest
    spans = [(t.started_at, t.ended_at) for t in trial.transitions]
    assert all(ended_at is not None and started_at <= ended_at for started_at, ended_at in spans)


# --- retries ------------------------------------------------------------------------------


def retrying(*, retries: int = 2, time_limit: timedelta | None = None) -> Driver:
    job = Driver(job_spec(jobs=2, parallel=1, retries=retries, time_limit=time_limit))
    job.suggest()
    return job


def test_a_lost_trial_is_retried_under_its_name_as_often_as_is_allowed() -> None:
    job = retrying(retries=2)
    for attempt in (1, 2):
        job.assign(1)
        job.emit(1, 0.5)
        commands = job.lose(1)
        waiting = job.trial(1)
        assert waiting.secondary_status is SecondaryStatus.PENDING
        assert (waiting.retries, waiting.lease, waiting.metrics) == (attempt, None, {})
        assert fx.Enqueue(trial=waiting) in commands
        assert waiting.transitions[-2].message == (
            f"Retry {attempt} of 2 after: InternalServerError: the runner a was restarted"
        )
        assert job.decisions.store.measurements[job.name(1)] == []
    job.assign(1)
    job.lose(1)
    assert job.trial(1).status is TrainingJobStatus.FAILED
    assert job.job.counters == Counters(retryable_error=1, objective_failed=1)


def test_only_a_failure_that_can_pass_is_retried() -> None:
    job = retrying()
    job.assign(1)
    job.end(1, ev.Outcome.FAILED, retryable=True)
    assert job.trial(1).retries == 1
    job.run(1, 0.25)
    assert (job.trial(1).status, job.trial(1).objective_value) == ("Completed", 0.25)
    job.suggest()
    job.fail(2)
    assert job.trial(2).status is TrainingJobStatus.FAILED
    assert job.job.counters.non_retryable_error == 1


def test_the_message_of_a_retry_leaves_the_output_out() -> None:
    job = retrying()
    job.assign(1)
    reason = 'AlgorithmError: Exit Code: 75\nErrorMessage "Traceback\nOSError: gone"'
    job.report(1, ended(ev.Outcome.FAILED, reason=reason, retryable=True))
    assert job.trial(1).transitions[-2].message == (
        "Retry 1 of 2 after: AlgorithmError: Exit Code: 75"
    )


def test_without_a_retry_strategy_there_is_one_attempt() -> None:
    job = retrying(retries=0)
    job.assign(1)
    job.lose(1)
    assert job.trial(1).status is TrainingJobStatus.FAILED


def test_attempts_share_the_time_limit() -> None:
    # Each event takes a minute: an attempt runs from its Training to its loss, one minute later.
    job = retrying(retries=9, time_limit=timedelta(minutes=2, seconds=30))
    for spent_min in (1, 2):
        job.assign(1)
        job.reach(1, ev.Stage.TRAINING)
        job.lose(1)
        assert job.trial(1).spent == timedelta(minutes=spent_min)
    job.assign(1)
    job.reach(1, ev.Stage.TRAINING)
    job.lose(1)
    ended = job.trial(1)
    assert ended.status is TrainingJobStatus.FAILED
    assert ended.ended_at is not None
    assert ended.runtime(ended.ended_at) == timedelta(minutes=3)


def test_a_trial_that_is_to_stop_is_not_retried() -> None:
    job = retrying()
    job.assign(1)
    job.stop(1)
    job.lose(1)
    assert job.trial(1).status is TrainingJobStatus.STOPPED


# --- checkpoints --------------------------------------------------------------------------


def resuming(*, retries: int = 0, time_limit: timedelta | None = None) -> Driver:
    job = Driver(job_spec(jobs=2, parallel=1, retries=retries, time_limit=time_limit, resumes=True))
    job.suggest()
    return job


def test_what_was_measured_stays_where_the_next_attempt_resumes() -> None:
    job = resuming(retries=1)
    job.assign(1)
    job.reach(1, ev.Stage.TRAINING)
    job.emit(1, 0.9, 0.8)
    job.lose(1)
    waiting = job.trial(1)
    assert waiting.metrics["validation:loss"].step == 2
    assert waiting.training_started_at is None
    job.run(1, 0.7)
    ended = job.trial(1)
    assert (ended.objective_value, ended.metrics["validation:loss"].step) == (0.7, 3)
    saved = job.decisions.store.measurements[job.name(1)]
    assert [(each.lease_token, each.step, each.value) for each in saved] == [
        (1, 1, 0.9),
        (1, 2, 0.8),
        (2, 3, 0.7),
    ]


def test_the_time_of_an_attempt_that_was_given_back_counts_where_the_next_one_resumes() -> None:
    job = resuming(time_limit=timedelta(hours=1))
    for spent_min in (1, 2):
        job.assign(1)
        job.reach(1, ev.Stage.TRAINING)
        job.end(1, ev.Outcome.RETURNED)
        assert job.trial(1).spent == timedelta(minutes=spent_min)
