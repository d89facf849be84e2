"""What reports and other events do to one trial."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.server.domain.job_specs import CREATED_AT, METRIC, job_spec
from tests.server.domain.tuning_job_driver import MODEL, Driver, ended
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import SequenceGap
from tunesmith_server.domain.states import (
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
)
from tunesmith_server.domain.trial import FailureKind, Lease, launch
from tunesmith_server.domain.trial_steps import FAILURE_REASON_LENGTH

NAN, INF = float("nan"), float("inf")


def assigned(*, jobs: int = 4) -> Driver:
    """Give a tuning job whose first trial was just given to a runner."""
    job = Driver(job_spec(jobs=jobs, parallel=1))
    job.suggest()
    job.assign(1)
    return job


# --- its beginning ------------------------------------------------------------------------


def test_a_launched_trial_waits_and_knows_nothing_yet() -> None:
    trial = launch(
        name="digits-001-0123abcd",
        index=1,
        definition_name="small",
        parameters={"depth": "3"},
        now=CREATED_AT,
    )
    assert trial.secondary_status is SecondaryStatus.PENDING
    assert trial.status is TrainingJobStatus.IN_PROGRESS
    assert trial.objective_status is ObjectiveStatus.PENDING
    assert trial.story() == ("Pending",)
    assert trial.created_at == trial.modified_at == CREATED_AT
    assert trial.lease is None
    assert trial.lease_token == 0
    assert trial.ended_at is None


def test_an_assigned_trial_starts_under_its_first_lease() -> None:
    trial = assigned().trial(1)
    assert trial.secondary_status is SecondaryStatus.STARTING
    assert trial.lease == Lease(token=1, runner_name="a", instance_id="a-1")
    assert trial.reported_sequence == 0


def test_each_assignment_has_a_lease_of_its_own_with_reports_from_one() -> None:
    job = assigned()
    job.reach(1, ev.Stage.TRAINING)
    job.end(1, ev.Outcome.RETURNED)
    job.assign(1, host="b")
    trial = job.trial(1)
    assert trial.lease == Lease(token=2, runner_name="b", instance_id="b-1")
    assert trial.reported_sequence == 0
    job.report(1, ev.StageReached(stage=ev.Stage.TRAINING), sequence=1)
    assert job.trial(1).reported_sequence == 1


# --- the order of reports -----------------------------------------------------------------


def test_reports_in_order_are_taken_in() -> None:
    job = assigned()
    job.reach(1, ev.Stage.STARTING, ev.Stage.DOWNLOADING, ev.Stage.TRAINING, ev.Stage.UPLOADING)
    job.end(1)
    trial = job.trial(1)
    assert trial.story() == (
        *("Pending", "Starting", "Downloading", "Training", "Uploading", "Completed"),
    )
    assert trial.reported_sequence == 5


def test_a_report_that_is_known_already_changes_nothing() -> None:
    job = assigned()
    job.emit(1, 0.5, 0.25)
    before = job.state
    for sequence in (1, 2):
        emitted = ev.MetricEmitted(metric_name=METRIC, value=9.0)
        assert job.report(1, emitted, sequence=sequence) == []
    assert job.state == before


@pytest.mark.parametrize("sequence", [3, 4, 1000])
def test_a_gap_is_refused_and_says_what_to_send(sequence: int) -> None:
    job = assigned()
    job.emit(1, 0.5)
    before = job.state
    with pytest.raises(SequenceGap) as refusal:
        job.report(1, ended(), sequence=sequence)
    assert (refusal.value.stored, refusal.value.got) == (1, sequence)
    assert str(refusal.value) == (
        f"Report {sequence} of {job.name(1)} does not follow 1, the last durable one; send 2 next."
    )
    assert job.state == before


@pytest.mark.parametrize("lease_token", [0, 1, 3])
def test_reports_and_losses_under_another_lease_change_nothing(lease_token: int) -> None:
    job = assigned()
    job.end(1, ev.Outcome.RETURNED)
    job.assign(1)
    before = job.state
    for sequence in (1, 2, 7):
        assert job.report(1, ended(), lease_token=lease_token, sequence=sequence) == []
    assert job.lose(1, lease_token=lease_token) == []
    assert job.state == before


def test_reports_and_losses_of_a_trial_that_waits_again_change_nothing() -> None:
    job = assigned()
    job.end(1, ev.Outcome.RETURNED)
    before = job.state
    assert job.report(1, ended(), lease_token=1) == []
    assert job.lose(1, lease_token=1) == []
    assert job.state == before


def test_a_stage_that_is_over_is_taken_in_and_changes_nothing() -> None:
    job = assigned()
    job.reach(1, ev.Stage.TRAINING, ev.Stage.UPLOADING)
    before = job.trial(1)
    job.reach(1, ev.Stage.TRAINING)
    after = job.trial(1)
    assert after.story() == before.story()
    assert after.reported_sequence == before.reported_sequence + 1


def test_a_stage_told_twice_is_one_transition() -> None:
    job = assigned()
    job.reach(1, ev.Stage.TRAINING, ev.Stage.TRAINING)
    assert job.trial(1).story() == ("Pending", "Starting", "Training")


def test_what_a_stopping_trial_does_is_all_stopping() -> None:
    job = assigned()
    job.stop(1)
    job.reach(1, ev.Stage.TRAINING, ev.Stage.STOPPING, ev.Stage.UPLOADING)
    assert job.trial(1).story() == ("Pending", "Starting", "Stopping")
    assert job.trial(1).training_started_at is not None
    job.end(1, ev.Outcome.STOPPED)
    assert job.trial(1).story()[-1] == "Stopped"


# --- metrics and the objective ------------------------------------------------------------


def test_the_last_emitted_value_is_the_objective_and_not_the_best_one() -> None:
    job = assigned()
    job.emit(1, 0.5, 0.125, 0.25)
    job.end(1)
    trial = job.trial(1)
    assert trial.objective_value == 0.25
    assert trial.objective_status is ObjectiveStatus.SUCCEEDED
    assert trial.metrics[METRIC].step == 3


def test_other_metrics_are_kept_and_are_not_the_objective() -> None:
    job = assigned()
    job.emit(1, 0.5)
    job.emit(1, 0.875, metric="validation:accuracy")
    job.end(1)
    assert job.trial(1).objective_value == 0.5
    assert job.trial(1).metrics["validation:accuracy"].value == 0.875


def test_every_value_is_saved_with_its_report_and_step() -> None:
    job = assigned()
    job.reach(1, ev.Stage.TRAINING)
    job.emit(1, 0.5)
    job.emit(1, 0.875, metric="validation:accuracy")
    job.emit(1, 0.25)
    saved = job.decisions.store.measurements[job.name(1)]
    assert [(s.metric_name, s.step, s.value, s.sequence) for s in saved] == [
        (METRIC, 1, 0.5, 2),
        ("validation:accuracy", 1, 0.875, 3),
        (METRIC, 2, 0.25, 4),
    ]


@pytest.mark.parametrize("values", [(), (NAN,), (INF,), (-INF,), (0.5, NAN), (0.5, -INF)])
def test_without_a_finite_last_value_there_is_no_objective(values: tuple[float, ...]) -> None:
    job = assigned()
    job.emit(1, *values)
    job.end(1)
    trial = job.trial(1)
    assert trial.status is TrainingJobStatus.COMPLETED
    assert trial.objective_status is ObjectiveStatus.FAILED
    assert trial.objective_value is None
    assert job.job.best is None
    assert job.job.counters.objective_failed == 1
    kept = trial.metrics.get(METRIC)
    assert kept is None or not math.isfinite(kept.value)


def test_a_finite_value_after_nan_is_the_objective() -> None:
    job = assigned()
    job.emit(1, NAN, 0.5)
    job.end(1)
    assert job.trial(1).objective_value == 0.5


@pytest.mark.parametrize(
    ("outcome", "status", "objective"),
    [
        (ev.Outcome.COMPLETED, TrainingJobStatus.COMPLETED, 0.5),
        (ev.Outcome.STOPPED, TrainingJobStatus.STOPPED, 0.5),
        (ev.Outcome.MAX_RUNTIME_EXCEEDED, TrainingJobStatus.STOPPED, 0.5),
        (ev.Outcome.FAILED, TrainingJobStatus.FAILED, None),
    ],
)
def test_all_but_failed_trials_keep_their_objective(
    outcome: ev.Outcome, status: TrainingJobStatus, objective: float | None
) -> None:
    job = assigned()
    job.emit(1, 0.5)
    job.end(1, outcome)
    trial = job.trial(1)
    assert trial.status is status
    assert trial.objective_value == objective
    known = ObjectiveStatus.FAILED if objective is None else ObjectiveStatus.SUCCEEDED
    assert trial.objective_status is known


# --- its end ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "secondary"),
    [
        (ev.Outcome.COMPLETED, SecondaryStatus.COMPLETED),
        (ev.Outcome.FAILED, SecondaryStatus.FAILED),
        (ev.Outcome.STOPPED, SecondaryStatus.STOPPED),
        (ev.Outcome.MAX_RUNTIME_EXCEEDED, SecondaryStatus.MAX_RUNTIME_EXCEEDED),
    ],
)
@pytest.mark.parametrize(
    "stages",
    [
        (),
        (ev.Stage.DOWNLOADING,),
        (ev.Stage.TRAINING,),
        (ev.Stage.TRAINING, ev.Stage.UPLOADING),
        (ev.Stage.TRAINING, ev.Stage.STOPPING),
    ],
)
def test_a_trial_ends_as_its_runner_says_from_whatever_it_does(
    stages: tuple[ev.Stage, ...], outcome: ev.Outcome, secondary: SecondaryStatus
) -> None:
    job = assigned()
    job.reach(1, *stages)
    commands = job.end(1, outcome)
    trial = job.trial(1)
    assert trial.secondary_status is secondary
    assert trial.ended_at == trial.modified_at == job.now
    assert trial.transitions[-1].started_at == trial.transitions[-1].ended_at == job.now
    assert trial.lease is None
    assert commands[0] == fx.Release(trial_name=trial.name, instance_id="a-1")


@pytest.mark.parametrize(
    ("retryable", "kind"), [(True, FailureKind.RETRYABLE), (False, FailureKind.NON_RETRYABLE)]
)
def test_a_failure_has_a_kind_and_a_reason_of_bounded_length(
    *, retryable: bool, kind: FailureKind
) -> None:
    job = assigned()
    job.report(1, ended(ev.Outcome.FAILED, reason="x" * 5000, retryable=retryable))
    trial = job.trial(1)
    assert trial.failure_kind is kind
    assert trial.failure_reason == "x" * FAILURE_REASON_LENGTH
    assert job.job.counters.retryable_error == int(retryable)
    assert job.job.counters.non_retryable_error == int(not retryable)


def test_a_trial_that_did_not_fail_has_no_failure() -> None:
    job = assigned()
    report = replace(ended(ev.Outcome.STOPPED, retryable=True), failure_reason="ignored")
    job.report(1, report)
    assert job.trial(1).failure_kind is None
    assert job.trial(1).failure_reason is None


def test_the_model_is_where_the_runner_put_it() -> None:
    job = assigned()
    job.end(1)
    assert job.trial(1).model_artifacts_uri == MODEL


# --- its times ----------------------------------------------------------------------------


def test_training_starts_when_the_runner_says() -> None:
    job = assigned()
    late = timedelta(seconds=40)
    job.report(1, ev.StageReached(stage=ev.Stage.TRAINING), late=late)
    assert job.trial(1).training_started_at == job.now - late


@pytest.mark.parametrize("days", [-400, 400])
def test_a_runners_wrong_clock_leaves_the_times_in_order(days: int) -> None:
    by_stage, by_end = assigned(), assigned()
    stage = ev.StageReached(stage=ev.Stage.TRAINING)
    by_stage.report(1, stage, late=timedelta(days=-days))
    by_stage.end(1)
    started_at = CREATED_AT + timedelta(days=days)
    by_end.report(1, ended(started_at=started_at))
    for trial in (by_stage.trial(1), by_end.trial(1)):
        assert trial.training_started_at is not None
        assert trial.ended_at is not None
        assert trial.created_at <= trial.training_started_at <= trial.ended_at


def test_a_trial_that_ended_while_the_server_was_away_ended_then() -> None:
    job = assigned()
    job.reach(1, ev.Stage.TRAINING)
    began = job.now
    job.now += timedelta(hours=1)
    job.report(1, ended(), late=timedelta(minutes=59))
    trial = job.trial(1)
    assert trial.ended_at == job.now - timedelta(minutes=59)
    assert trial.ended_at > began
    assert trial.transitions[-1].started_at == trial.ended_at
    assert trial.modified_at == job.now


def test_a_measurement_has_the_runners_time() -> None:
    job = assigned()
    late = timedelta(minutes=3)
    emitted = ev.MetricEmitted(metric_name=METRIC, value=0.5)
    job.report(1, emitted, late=late)
    assert job.trial(1).metrics[METRIC].measured_at == job.now - late
