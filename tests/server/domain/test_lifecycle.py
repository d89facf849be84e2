"""What becomes of a tuning job, rule by rule; any order of events is ``test_lifecycle_machine``'s."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest

from tests.server.domain.job_specs import CREATED_AT, job_spec
from tests.server.domain.tuning_job_driver import TICK, Driver
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain import views
from tunesmith_server.domain.states import (
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.tuning_job import Counters
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict

COMPLETED, FAILED, STOPPED = (
    TuningJobStatus.COMPLETED,
    TuningJobStatus.FAILED,
    TuningJobStatus.STOPPED,
)


def driver(*, jobs: int = 4, parallel: int = 2, maximise: bool = False) -> Driver:
    return Driver(job_spec(jobs=jobs, parallel=parallel, maximise=maximise))


def limited(*, jobs: int = 4, parallel: int = 2) -> Driver:
    return Driver(job_spec(jobs=jobs, parallel=parallel, max_runtime=timedelta(hours=1)))


# --- suggestions and limits ---------------------------------------------------------------


def test_a_new_tuning_job_asks_for_as_many_suggestions_as_may_run_at_a_time() -> None:
    job = driver(jobs=4, parallel=3)
    assert job.commands == [fx.Suggest(first_index=1, count=3)]
    assert job.state.suggestions_wanted == 3


def test_no_more_is_asked_for_than_is_left_to_launch() -> None:
    assert driver(jobs=2, parallel=5).commands == [fx.Suggest(first_index=1, count=2)]


def test_suggestions_become_waiting_trials_in_launch_order() -> None:
    job = driver(jobs=4, parallel=2)
    commands = job.suggest()
    assert commands == [fx.Enqueue(trial=job.trial(1)), fx.Enqueue(trial=job.trial(2))]
    assert [job.trial(k).parameters["learning_rate"] for k in (1, 2)] == ["1e-3", "2e-3"]
    assert job.job.launched == 2
    assert all(t.secondary_status is SecondaryStatus.PENDING for t in job.state.trials.values())


def test_each_ended_trial_makes_room_for_one_suggestion_until_all_are_launched() -> None:
    job = driver(jobs=3, parallel=2)
    job.suggest()
    job.assign(1)
    assert job.end(1)[-1] == fx.Suggest(first_index=3, count=1)
    job.suggest()
    job.assign(2)
    assert not any(isinstance(command, fx.Suggest) for command in job.end(2))


def test_one_ask_is_open_at_a_time() -> None:
    job = driver(jobs=6, parallel=3)
    job.suggest()
    job.run(1, 0.5)
    assert job.state.suggestions_wanted == 1
    job.run(2, 0.5)
    assert job.state.suggestions_wanted == 1
    assert job.suggest()[-1] == fx.Suggest(first_index=5, count=1)


def test_what_a_short_answer_left_out_is_asked_for_again() -> None:
    job = driver(jobs=6, parallel=3)
    assert job.suggest(1)[-1] == fx.Suggest(first_index=2, count=2)


def test_suggestions_that_nobody_asked_for_are_dropped() -> None:
    job = driver(jobs=9, parallel=2)
    job.suggest()
    before = job.state
    assert job.suggest(2) == []
    assert job.decide(ev.SuggestionsFailed(reason="late")) == []
    assert job.state == before


def test_more_suggestions_than_asked_for_launch_no_more_trials() -> None:
    job = driver(jobs=9, parallel=2)
    job.suggest(5)
    assert job.job.launched == 2


def test_suggestions_for_a_tuning_job_that_ends_are_dropped() -> None:
    job = driver(jobs=9, parallel=3)
    job.suggest(1)
    job.assign(1)
    job.stop_job()
    assert job.suggest(2) == []
    assert job.job.launched == 1


def test_an_exhausted_space_ends_the_tuning_job_with_its_last_trial() -> None:
    job = driver(jobs=9, parallel=2)
    job.suggest(1, exhausted=True)
    assert job.state.suggestions_wanted == 0
    job.run(1, 0.5)
    assert job.job.status is COMPLETED
    assert job.job.exhausted


def test_a_space_that_turns_out_to_be_exhausted_after_the_last_trial_completes_at_once() -> None:
    job = driver(jobs=9, parallel=1)
    job.suggest()
    job.run(1, 0.5)
    job.suggest(0, exhausted=True)
    assert job.job.status is COMPLETED


def test_an_exhausted_space_whose_trials_all_failed_is_a_failure() -> None:
    job = driver(jobs=9, parallel=1)
    job.suggest()
    job.fail(1)
    job.suggest(0, exhausted=True)
    assert job.job.status is FAILED
    assert job.job.failure_reason is not None
    assert job.job.failure_reason.startswith("No training job succeeded after 1 attempts.")


def test_a_strategy_that_breaks_down_fails_the_tuning_job_and_stops_its_trials() -> None:
    job = driver(jobs=9, parallel=3)
    job.suggest(2)
    job.assign(1)
    job.decide(ev.SuggestionsFailed(reason="MemoryError: " + "x" * 2000))
    assert job.job.status is TuningJobStatus.IN_PROGRESS
    assert job.trial(1).status is TrainingJobStatus.STOPPING
    assert job.trial(2).status is TrainingJobStatus.STOPPED
    job.end(1, ev.Outcome.STOPPED)
    assert job.job.status is FAILED
    assert job.job.failure_reason is not None
    assert job.job.failure_reason.startswith("InternalServerError: MemoryError: x")
    assert len(job.job.failure_reason) == 1024


# --- the end, and what decides it ---------------------------------------------------------


def test_a_tuning_job_completes_with_its_last_training_job() -> None:
    job = driver(jobs=2, parallel=2)
    job.suggest()
    job.run(1, 0.5)
    assert job.job.status is TuningJobStatus.IN_PROGRESS
    job.run(2, 0.25)
    assert job.job.status is COMPLETED
    assert job.job.ended_at == job.now
    assert job.job.failure_reason is None


def test_five_failures_without_a_success_fail_the_tuning_job_once_the_rest_has_stopped() -> None:
    job = driver(jobs=50, parallel=3)
    job.suggest()
    for index in (1, 2, 3, 4):
        job.fail(index)
        job.suggest()
    job.assign(5)
    job.assign(6)
    commands = job.end(5, ev.Outcome.FAILED)
    stop = fx.StopOnRunner(trial_name=job.name(6), lease_token=1, instance_id="a-1")
    assert stop in commands
    assert fx.Withdraw(trial_name=job.name(7)) in commands
    assert not any(isinstance(command, fx.Suggest) for command in commands)
    assert job.job.status is TuningJobStatus.IN_PROGRESS
    assert job.trial(7).status is TrainingJobStatus.STOPPED
    job.end(6, ev.Outcome.STOPPED)
    assert job.job.status is FAILED
    assert job.job.failure_reason == (
        "No training job succeeded after 5 attempts. "
        "Please take a look at the training job failures to get more details."
    )


def test_five_failures_after_a_success_do_not_matter() -> None:
    job = driver(jobs=7, parallel=1)
    job.suggest()
    job.run(1, 0.5)
    for index in range(2, 8):
        job.suggest()
        job.fail(index)
    assert job.job.status is COMPLETED
    assert job.job.counters.non_retryable_error == 6


def test_a_fifth_training_job_that_succeeds_saves_the_tuning_job() -> None:
    job = driver(jobs=6, parallel=1)
    for index in (1, 2, 3, 4):
        job.suggest()
        job.fail(index)
    job.suggest()
    job.run(5, 0.5)
    job.suggest()
    job.fail(6)
    assert job.job.status is COMPLETED


def test_fewer_than_five_training_jobs_that_all_failed_are_a_failure() -> None:
    job = driver(jobs=3, parallel=3)
    job.suggest()
    for index in (3, 1, 2):
        job.fail(index, retryable=index == 1)
    assert job.job.status is FAILED
    assert job.job.failure_reason == (
        "No training job succeeded after 3 attempts. "
        "Please take a look at the training job failures to get more details."
    )


def test_training_jobs_that_a_caller_stopped_are_no_success_and_no_failure() -> None:
    job = driver(jobs=50, parallel=1)
    job.suggest()
    job.stop(1)
    for index in range(2, 7):
        assert job.job.status is TuningJobStatus.IN_PROGRESS
        job.suggest()
        job.fail(index)
    assert job.job.status is FAILED
    one_failed = driver(jobs=3, parallel=3)
    one_failed.suggest()
    one_failed.stop(1)
    one_failed.fail(2)
    one_failed.stop(3)
    assert one_failed.job.failure_reason is not None
    assert one_failed.job.failure_reason.startswith("No training job succeeded after 3 attempts.")
    every_one_stopped = driver(jobs=2, parallel=2)
    every_one_stopped.suggest()
    every_one_stopped.stop(1)
    every_one_stopped.stop(2)
    assert every_one_stopped.job.status is COMPLETED


def test_a_stopped_training_job_with_an_objective_is_a_success() -> None:
    job = driver(jobs=6, parallel=1)
    job.suggest()
    job.assign(1)
    job.emit(1, 0.5)
    job.stop(1)
    job.end(1, ev.Outcome.STOPPED)
    for index in range(2, 7):
        job.suggest()
        job.fail(index)
    assert job.job.status is COMPLETED


def test_a_training_job_that_completes_without_an_objective_is_a_success_and_never_best() -> None:
    job = driver(jobs=1, parallel=1)
    job.suggest()
    job.run(1)
    assert job.job.status is COMPLETED
    assert job.job.best is None
    assert job.trial(1).objective_status is ObjectiveStatus.FAILED


def test_the_tuning_jobs_time_limit_stops_what_runs_and_completes_it() -> None:
    job = limited(jobs=4, parallel=2)
    job.suggest()
    job.assign(1)
    deadline = job.state.deadline
    assert deadline == CREATED_AT + timedelta(hours=1)
    job.reach_deadline()
    assert job.job.status is TuningJobStatus.IN_PROGRESS
    assert job.state.deadline is None
    assert job.trial(1).status is TrainingJobStatus.STOPPING
    assert job.trial(2).status is TrainingJobStatus.STOPPED
    job.end(1, ev.Outcome.STOPPED)
    assert job.job.status is COMPLETED
    assert job.job.launched == 2


def test_a_deadline_with_nothing_on_a_runner_completes_the_tuning_job_at_once() -> None:
    job = limited()
    job.suggest()
    job.reach_deadline()
    assert job.job.status is COMPLETED
    assert job.job.counters == Counters(stopped=2, objective_failed=2)


def test_a_deadline_that_has_not_come_changes_nothing() -> None:
    for job in (limited(), driver()):
        before = job.state
        assert job.decide(ev.DeadlinePassed()) == []
        assert job.state == before


# --- the best training job ----------------------------------------------------------------


@pytest.mark.parametrize(("maximise", "best"), [(False, 2), (True, 3)])
def test_the_best_training_job_has_the_least_or_the_greatest_objective(
    *, maximise: bool, best: int
) -> None:
    job = driver(jobs=4, parallel=1, maximise=maximise)
    for index, value in enumerate((0.5, -0.25, 0.75, 0.0), start=1):
        job.suggest()
        job.run(index, value)
    assert job.job.best == job.trial(best)


@pytest.mark.parametrize("maximise", [False, True])
def test_of_equal_objectives_the_first_to_end_stays_the_best(*, maximise: bool) -> None:
    job = driver(jobs=3, parallel=3, maximise=maximise)
    job.suggest()
    for index in (2, 1, 3):
        job.run(index, 0.5)
    assert job.job.best == job.trial(2)


def test_only_completed_training_jobs_are_best() -> None:
    job = driver(jobs=4, parallel=4)
    job.suggest()
    for index, outcome in enumerate(
        (ev.Outcome.STOPPED, ev.Outcome.FAILED, ev.Outcome.MAX_RUNTIME_EXCEEDED), start=1
    ):
        job.assign(index)
        job.emit(index, 0.0)
        job.end(index, outcome)
        assert job.job.best is None
    job.run(4, 1.0)
    assert job.job.best == job.trial(4)
    assert job.job.counters == Counters(
        completed=1, stopped=2, non_retryable_error=1, objective_succeeded=3, objective_failed=1
    )


# --- watchers -----------------------------------------------------------------------------


def test_watchers_are_told_of_every_change_in_order() -> None:
    job = driver(jobs=1, parallel=1)
    job.suggest()
    job.assign(1)
    job.reach(1, ev.Stage.TRAINING)
    job.report(1, ev.OutputWritten(lines=("epoch 1", "loss=0.5")))
    job.emit(1, 0.5)
    job.end(1)
    told = [event.WhichOneof("event") for event in job.decisions.store.events]
    assert told == [
        *("training_job", "tuning_job"),  # launched
        *("training_job", "training_job"),  # assigned, training
        *("log", "metric"),
        *("training_job", "tuning_job"),  # ended
    ]
    assert [event.at.ToDatetime(tzinfo=UTC) for event in job.decisions.store.events] == [
        CREATED_AT + minutes * TICK for minutes in (2, 2, 3, 4, 5, 6, 7, 7)
    ]
    last = job.decisions.store.events[-1].tuning_job
    assert last.training_job_status_counters.completed == 1
    assert last.best_training_job.training_job_name == job.name(1)


# --- early stopping -----------------------------------------------------------------------

VERDICT = StoppingVerdict(
    rule=StoppingRule.HALVING, resource=3, value=0.9, rung=1, rank=2, entries=2, threshold=0.5
)


def fell_behind(job: Driver, verdict: StoppingVerdict) -> ev.TrialFellBehind:
    return ev.TrialFellBehind(
        trial_name=job.name(1), lease_token=1, reason="0.9 is worse", verdict=verdict
    )


def test_a_trial_that_fell_behind_is_stopped_with_its_objective_and_says_why() -> None:
    job = driver(jobs=4, parallel=1)
    job.suggest()
    job.assign(1)
    job.emit(1, 0.9)
    behind = fell_behind(job, VERDICT)
    (command,) = job.decide(behind)
    assert isinstance(command, fx.StopOnRunner)
    last = job.trial(1).transitions[-1]
    assert last.status is SecondaryStatus.STOPPING
    assert last.message == "Stopping the training job early: 0.9 is worse"
    assert job.decide(behind) == []
    job.end(1, ev.Outcome.STOPPED)
    ended = job.trial(1)
    assert (ended.status, ended.objective_value) == (TrainingJobStatus.STOPPED, 0.9)
    assert job.job.counters == Counters(stopped=1, objective_succeeded=1)


def test_what_a_trial_was_stopped_by_is_told_from_the_moment_of_its_stop_on() -> None:
    job = driver(jobs=4, parallel=2)
    job.suggest()
    for index in (1, 2):
        job.assign(index)
    job.decide(fell_behind(job, VERDICT))
    job.end(1, ev.Outcome.STOPPED)
    job.stop(2)
    assert (job.trial(1).verdict, job.trial(2).verdict) == (VERDICT, None)
    told = [
        event.training_job.summary
        for event in job.decisions.store.events
        if event.training_job.summary.HasField("stopping_verdict")
    ]
    statuses = TrainingJobStatus.STOPPING, TrainingJobStatus.STOPPED
    assert [each.training_job_status for each in told] == [
        views.TRAINING_STATUS_VALUES[status] for status in statuses
    ]
    verdict = told[0].stopping_verdict
    assert (verdict.resource, verdict.value, verdict.threshold) == (3, 0.9, 0.5)
    assert (verdict.rung, verdict.rank, verdict.entries) == (1, 2, 2)


def test_what_an_earlier_attempt_was_judged_by_stops_no_other() -> None:
    job = driver(jobs=4, parallel=1)
    job.suggest()
    job.assign(1)
    job.end(1, ev.Outcome.RETURNED)
    job.assign(1)
    behind = fell_behind(job, VERDICT)
    assert job.decide(behind) == []
    assert not job.trial(1).stop_requested
