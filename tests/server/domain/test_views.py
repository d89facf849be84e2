"""What callers see: messages of the contract that keep its constraints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import protovalidate
import pytest

from tests.server.domain.job_specs import CREATED_AT, METRIC, job_spec
from tests.server.domain.tuning_job_driver import Driver
from tunesmith.v1 import training_job_pb2, tuning_job_pb2
from tunesmith_server.domain import events as ev
from tunesmith_server.domain import views
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import Counters


def summary(job: Driver, trial: Trial) -> tuning_job_pb2.HyperParameterTrainingJobSummary:
    return views.training_job_summary(
        trial,
        tuning_job_name=job.state.spec.name,
        arn=job.state.spec.account.training_job_arn(trial.name),
        metric_name=METRIC,
    )


def driver(*, definition_name: str | None = None) -> Driver:
    job = Driver(job_spec(name="Digits", jobs=4, parallel=2, definition_name=definition_name))
    job.suggest()
    return job


def test_a_completed_training_job_is_summed_up_whole() -> None:
    job = driver(definition_name="small")
    job.assign(1)
    job.reach(1, ev.Stage.TRAINING)
    started_at = job.now
    job.emit(1, 0.5)
    job.end(1)
    shown = summary(job, job.trial(1))
    assert shown.training_job_name == job.name(1)
    assert shown.training_job_arn == (
        f"arn:aws:sagemaker:local:000000000000:training-job/{job.name(1).lower()}"
    )
    assert shown.tuning_job_name == "Digits"
    assert shown.training_job_definition_name == "small"
    assert dict(shown.tuned_hyper_parameters) == {"learning_rate": "1e-3"}
    assert shown.training_job_status == training_job_pb2.TRAINING_JOB_STATUS_COMPLETED
    assert shown.objective_status == tuning_job_pb2.OBJECTIVE_STATUS_SUCCEEDED
    assert shown.creation_time.ToDatetime(tzinfo=UTC) == job.trial(1).created_at
    assert shown.training_start_time.ToDatetime(tzinfo=UTC) == started_at
    assert shown.training_end_time.ToDatetime(tzinfo=UTC) == job.now
    assert shown.training_time_in_seconds == (job.now - started_at).total_seconds()
    final = shown.final_hyper_parameter_tuning_job_objective_metric
    assert (final.metric_name, final.value) == (METRIC, 0.5)
    assert not final.type, "SageMaker's own summaries have no Type"
    assert not shown.HasField("failure_reason")
    protovalidate.validate(shown)


def test_what_is_not_known_of_a_training_job_is_absent() -> None:
    job = driver()
    shown = summary(job, job.trial(1))
    for field in (
        "training_start_time",
        "training_end_time",
        "training_time_in_seconds",
        "failure_reason",
        "final_hyper_parameter_tuning_job_objective_metric",
    ):
        assert not shown.HasField(field), field
    assert not shown.training_job_definition_name
    assert shown.objective_status == tuning_job_pb2.OBJECTIVE_STATUS_PENDING
    protovalidate.validate(shown)


def test_a_failed_training_job_says_why_and_has_no_objective() -> None:
    job = driver()
    job.assign(1)
    job.emit(1, 0.5)
    job.end(1, ev.Outcome.FAILED)
    shown = summary(job, job.trial(1))
    assert shown.failure_reason == "AlgorithmError: Exit Code: 1"
    assert not shown.HasField("final_hyper_parameter_tuning_job_objective_metric")
    assert shown.objective_status == tuning_job_pb2.OBJECTIVE_STATUS_FAILED
    protovalidate.validate(shown)


def test_an_objective_of_zero_is_present() -> None:
    job = driver()
    job.run(1, 0.0)
    final = summary(job, job.trial(1)).final_hyper_parameter_tuning_job_objective_metric
    assert final.HasField("value")
    assert final.value == 0.0


def test_counters_show_zeros_too() -> None:
    statuses = views.status_counters(Counters(), 0)
    objectives = views.objective_counters(Counters(), 0)
    assert len(statuses.ListFields()) == 5
    assert len(objectives.ListFields()) == 3
    protovalidate.validate(statuses)
    protovalidate.validate(objectives)


def test_counters_put_every_training_job_where_it_belongs() -> None:
    counters = Counters(
        completed=1,
        stopped=2,
        retryable_error=3,
        non_retryable_error=4,
        objective_succeeded=2,
        objective_failed=8,
    )
    statuses = views.status_counters(counters, 5)
    assert statuses == tuning_job_pb2.TrainingJobStatusCounters(
        completed=1, stopped=2, retryable_error=3, non_retryable_error=4, in_progress=5
    )
    objectives = views.objective_counters(counters, 5)
    assert objectives == tuning_job_pb2.ObjectiveStatusCounters(succeeded=2, pending=5, failed=8)


def test_the_tuning_jobs_event_shows_status_counters_and_best() -> None:
    job = driver()
    job.run(1, 0.5)
    event = views.tuning_job_event(job.state)
    shown = event.tuning_job
    assert event.at.ToDatetime(tzinfo=UTC) == job.now
    assert shown.hyper_parameter_tuning_job_status == (
        tuning_job_pb2.HYPER_PARAMETER_TUNING_JOB_STATUS_IN_PROGRESS
    )
    assert shown.training_job_status_counters.completed == 1
    assert shown.training_job_status_counters.in_progress == 1
    assert shown.objective_status_counters.pending == 1
    assert shown.best_training_job == summary(job, job.trial(1))
    assert not shown.failure_reason
    protovalidate.validate(event)


def test_the_tuning_jobs_event_has_no_best_before_there_is_one() -> None:
    job = driver()
    assert not views.tuning_job_event(job.state).tuning_job.HasField("best_training_job")


def test_a_failed_tuning_jobs_event_says_why() -> None:
    job = Driver(job_spec(jobs=1, parallel=1))
    job.suggest()
    job.fail(1)
    event = job.decisions.store.events[-1]
    assert event.tuning_job.failure_reason == job.job.failure_reason
    assert event.tuning_job.failure_reason.startswith("No training job succeeded after 1")


def test_a_training_jobs_event_shows_its_secondary_status() -> None:
    job = driver()
    job.assign(1)
    event = views.training_job_event(job.state.spec, job.trial(1), job.now)
    assert event.training_job.secondary_status == training_job_pb2.SECONDARY_STATUS_STARTING
    assert event.training_job.summary == summary(job, job.trial(1))
    protovalidate.validate(event)


@pytest.mark.parametrize("value", [0.0, -1.5, float("inf")])
def test_a_metric_event_carries_the_value_and_its_step(value: float) -> None:
    event = views.metric_event("digits-001-0123abcd", METRIC, value, 3, CREATED_AT)
    assert event.metric.training_job_name == "digits-001-0123abcd"
    assert (event.metric.metric_name, event.metric.value, event.metric.step) == (METRIC, value, 3)
    protovalidate.validate(event)


def test_a_log_event_carries_the_lines_as_they_are() -> None:
    lines = ("epoch 1", "", "loss = ½")
    event = views.log_event("digits-001-0123abcd", lines, CREATED_AT)
    assert tuple(event.log.lines) == lines
    assert event.log.training_job_name == "digits-001-0123abcd"


def test_times_are_exact_to_the_microsecond_and_in_any_zone() -> None:
    at = datetime(2026, 11, 24, 9, 0, 0, 123457, tzinfo=UTC)
    for same in (at, at.astimezone(timezone(timedelta(hours=-5)))):
        written = views.timestamp(same)
        assert written is not None
        assert written.ToDatetime(tzinfo=UTC) == at
    assert views.timestamp(None) is None
