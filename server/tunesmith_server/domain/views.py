"""What callers see of a tuning job and its training jobs, as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tunesmith.v1 import event_pb2, training_job_pb2, tuning_job_pb2
from tunesmith_server.domain.states import (
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import Counters, JobSpec, JobState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S, _NANOS = 86_400, 1_000

_TUNING_STATUS = tuning_job_pb2.HyperParameterTuningJobStatus
_TRAINING_STATUS = training_job_pb2.TrainingJobStatus
_SECONDARY_STATUS = training_job_pb2.SecondaryStatus
_OBJECTIVE_STATUS = tuning_job_pb2.ObjectiveStatus

TUNING_STATUS_VALUES = {
    status: _TUNING_STATUS.Value(f"HYPER_PARAMETER_TUNING_JOB_STATUS_{status.name}")
    for status in TuningJobStatus
}
TRAINING_STATUS_VALUES = {
    status: _TRAINING_STATUS.Value(f"TRAINING_JOB_STATUS_{status.name}")
    for status in TrainingJobStatus
}
SECONDARY_STATUS_VALUES = {
    status: _SECONDARY_STATUS.Value(f"SECONDARY_STATUS_{status.name}") for status in SecondaryStatus
}
OBJECTIVE_STATUS_VALUES = {
    status: _OBJECTIVE_STATUS.Value(f"OBJECTIVE_STATUS_{status.name}") for status in ObjectiveStatus
}


def timestamp(at: datetime | None) -> Timestamp | None:
    """Write a time as a message; None stays None, which leaves a message's field unset."""
    if at is None:
        return None
    # As FromDatetime does, which takes several times as long.
    since = at - _EPOCH
    return Timestamp(seconds=since.days * _DAY_S + since.seconds, nanos=since.microseconds * _NANOS)


def training_job_summary(
    trial: Trial, *, tuning_job_name: str, arn: str, metric_name: str
) -> tuning_job_pb2.HyperParameterTrainingJobSummary:
    """Write a training job as List and BestTrainingJob show it.

    The objective carries no Type: SageMaker's own summaries have none.
    """
    summary = tuning_job_pb2.HyperParameterTrainingJobSummary(
        training_job_definition_name=trial.definition_name or "",
        training_job_name=trial.name,
        training_job_arn=arn,
        tuning_job_name=tuning_job_name,
        creation_time=timestamp(trial.created_at),
        training_start_time=timestamp(trial.training_started_at),
        training_end_time=timestamp(trial.ended_at),
        training_job_status=TRAINING_STATUS_VALUES[trial.status],
        tuned_hyper_parameters=trial.parameters,
        failure_reason=trial.failure_reason,
        objective_status=OBJECTIVE_STATUS_VALUES[trial.objective_status],
    )
    if trial.objective_value is not None:
        final = summary.final_hyper_parameter_tuning_job_objective_metric
        final.metric_name = metric_name
        final.value = trial.objective_value
    return summary


def status_counters(
    counters: Counters, in_progress: int
) -> tuning_job_pb2.TrainingJobStatusCounters:
    """Write how many training jobs are in each status; zeros are present too."""
    return tuning_job_pb2.TrainingJobStatusCounters(
        completed=counters.completed,
        in_progress=in_progress,
        retryable_error=counters.retryable_error,
        non_retryable_error=counters.non_retryable_error,
        stopped=counters.stopped,
    )


def objective_counters(
    counters: Counters, in_progress: int
) -> tuning_job_pb2.ObjectiveStatusCounters:
    """Write how many training jobs have an objective value; zeros are present too."""
    return tuning_job_pb2.ObjectiveStatusCounters(
        succeeded=counters.objective_succeeded,
        pending=in_progress,
        failed=counters.objective_failed,
    )


def tuning_job_event(state: JobState) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Announce a tuning job's status and counters, as of its last change."""
    job, open_trials = state.job, len(state.trials)
    changed = event_pb2.TuningJobChanged(
        hyper_parameter_tuning_job_status=TUNING_STATUS_VALUES[job.status],
        training_job_status_counters=status_counters(job.counters, open_trials),
        objective_status_counters=objective_counters(job.counters, open_trials),
        best_training_job=None if job.best is None else _summary_in(state.spec, job.best),
        failure_reason=job.failure_reason or "",
    )
    at = timestamp(job.modified_at)
    return event_pb2.WatchHyperParameterTuningJobResponse(at=at, tuning_job=changed)


def training_job_event(
    spec: JobSpec, trial: Trial, at: datetime
) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Announce a training job's launch or its new status."""
    changed = event_pb2.TrainingJobChanged(
        summary=_summary_in(spec, trial),
        secondary_status=SECONDARY_STATUS_VALUES[trial.secondary_status],
    )
    return event_pb2.WatchHyperParameterTuningJobResponse(at=timestamp(at), training_job=changed)


def metric_event(
    trial_name: str, metric_name: str, value: float, step: int, at: datetime
) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Announce one value of one metric."""
    emitted = event_pb2.MetricEmitted(
        training_job_name=trial_name, metric_name=metric_name, value=value, step=step
    )
    return event_pb2.WatchHyperParameterTuningJobResponse(at=timestamp(at), metric=emitted)


def log_event(
    trial_name: str, lines: Iterable[str], at: datetime
) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Announce lines of a training job's output."""
    written = event_pb2.LogWritten(training_job_name=trial_name, lines=lines)
    return event_pb2.WatchHyperParameterTuningJobResponse(at=timestamp(at), log=written)


def _summary_in(spec: JobSpec, trial: Trial) -> tuning_job_pb2.HyperParameterTrainingJobSummary:
    return training_job_summary(
        trial,
        tuning_job_name=spec.name,
        arn=spec.account.training_job_arn(trial.name),
        metric_name=spec.goal.metric_name,
    )
