"""What callers see of a tuning job and its training jobs, as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tunesmith.v1 import event_pb2, stopping_verdict_pb2, training_job_pb2, tuning_job_pb2
from tunesmith_server.domain.completion import Criterion
from tunesmith_server.domain.states import (
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import Counters, JobSpec, JobState, TuningJob
from tunesmith_server.domain.verdicts import StoppingRule, StoppingVerdict

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

CRITERION_VALUES = {
    criterion: tuning_job_pb2.CompletionCriterion.Value(f"COMPLETION_CRITERION_{name}")
    for criterion, name in {
        Criterion.MAX_TRAINING_JOBS: "MAX_NUMBER_OF_TRAINING_JOBS",
        Criterion.MAX_RUNTIME: "MAX_RUNTIME_IN_SECONDS",
        Criterion.SPACE_EXHAUSTED: "SEARCH_SPACE_EXHAUSTED",
        Criterion.TARGET: "TARGET_OBJECTIVE_METRIC_VALUE",
        Criterion.NOT_IMPROVING: "BEST_OBJECTIVE_NOT_IMPROVING",
        Criterion.CONVERGENCE: "CONVERGENCE_DETECTED",
    }.items()
}

STOPPING_RULE_VALUES = {
    rule: stopping_verdict_pb2.StoppingRule.Value(f"STOPPING_RULE_{rule.name}")
    for rule in StoppingRule
}


def timestamp(at: datetime | None) -> Timestamp | None:
    """Write a time as a message; None stays None, which leaves a message's field unset."""
    if at is None:
        return None
    written = Timestamp()
    _put_time(written, at)
    return written


def _put_time(field: Timestamp, at: datetime) -> None:
    # As FromDatetime does, which takes several times as long.
    since = at - _EPOCH
    field.seconds = since.days * _DAY_S + since.seconds
    field.nanos = since.microseconds * _NANOS


def training_job_summary(
    trial: Trial, *, tuning_job_name: str, arn: str, metric_name: str
) -> tuning_job_pb2.HyperParameterTrainingJobSummary:
    """Write a training job as List and BestTrainingJob show it.

    The objective carries no Type: SageMaker's own summaries have none.
    """
    summary = tuning_job_pb2.HyperParameterTrainingJobSummary()
    _summarise(summary, trial, tuning_job_name=tuning_job_name, arn=arn, metric_name=metric_name)
    return summary


def _summarise(
    summary: tuning_job_pb2.HyperParameterTrainingJobSummary,
    trial: Trial,
    *,
    tuning_job_name: str,
    arn: str,
    metric_name: str,
) -> None:
    """Fill in an empty summary: where it is, since copying one takes as long as making it."""
    if trial.definition_name:
        summary.training_job_definition_name = trial.definition_name
    summary.training_job_name = trial.name
    summary.training_job_arn = arn
    summary.tuning_job_name = tuning_job_name
    _put_time(summary.creation_time, trial.created_at)
    started_at = trial.last_started_at if trial.ended_at else trial.training_started_at
    if started_at is not None:
        _put_time(summary.training_start_time, started_at)
    if trial.ended_at is not None:
        _put_time(summary.training_end_time, trial.ended_at)
    over = trial.spent if trial.ended_at is None else trial.runtime(trial.ended_at)
    if over or (trial.ended_at is not None and started_at is not None):
        summary.training_time_in_seconds = over.total_seconds()
    summary.training_job_status = TRAINING_STATUS_VALUES[trial.status]
    tuned = summary.tuned_hyper_parameters
    for name, value in trial.parameters.items():
        tuned[name] = value
    if trial.failure_reason is not None:
        summary.failure_reason = trial.failure_reason
    summary.objective_status = OBJECTIVE_STATUS_VALUES[trial.objective_status]
    if trial.objective_value is not None:
        final = summary.final_hyper_parameter_tuning_job_objective_metric
        final.metric_name = metric_name
        final.value = trial.objective_value
    if trial.objective_failure_reason is not None:
        summary.objective_failure_reason = trial.objective_failure_reason
    if trial.verdict is not None:
        summary.stopping_verdict.CopyFrom(stopping_verdict(trial.verdict))


def stopping_verdict(verdict: StoppingVerdict) -> stopping_verdict_pb2.StoppingVerdict:
    """Write by what a training job was stopped early."""
    return stopping_verdict_pb2.StoppingVerdict(
        rule=STOPPING_RULE_VALUES[verdict.rule],
        resource=verdict.resource,
        value=verdict.value,
        rung=verdict.rung,
        rank=verdict.rank,
        entries=verdict.entries,
        threshold=verdict.threshold,
    )


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


def completion_details(job: TuningJob) -> tuning_job_pb2.HyperParameterTuningJobCompletionDetails:
    """Write how near a tuning job is to its completion criteria, and which one it has met."""
    details = tuning_job_pb2.HyperParameterTuningJobCompletionDetails()
    if job.best is not None:
        details.number_of_training_jobs_objective_not_improving = job.not_improving
    if job.converged_at is not None:
        _put_time(details.convergence_detected_time, job.converged_at)
    if job.closing is not None and job.closing.criterion is not None:
        details.completion_criterion = CRITERION_VALUES[job.closing.criterion]
    return details


def tuning_job_event(state: JobState) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Announce a tuning job's status and counters, as of its last change."""
    job, open_trials = state.job, len(state.trials)
    event = event_pb2.WatchHyperParameterTuningJobResponse()
    _put_time(event.at, job.modified_at)
    changed = event.tuning_job
    changed.hyper_parameter_tuning_job_status = TUNING_STATUS_VALUES[job.status]
    changed.training_job_status_counters.CopyFrom(status_counters(job.counters, open_trials))
    changed.objective_status_counters.CopyFrom(objective_counters(job.counters, open_trials))
    if job.best is not None:
        _summarise_in(state.spec, changed.best_training_job, job.best)
    if job.failure_reason is not None:
        changed.failure_reason = job.failure_reason
    return event


def training_job_event(
    spec: JobSpec, trial: Trial, at: datetime
) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Announce a training job's launch or its new status."""
    event = event_pb2.WatchHyperParameterTuningJobResponse()
    _put_time(event.at, at)
    changed = event.training_job
    changed.secondary_status = SECONDARY_STATUS_VALUES[trial.secondary_status]
    _summarise_in(spec, changed.summary, trial)
    return event


def metric_event(
    trial_name: str, metric_name: str, value: float, step: int, at: datetime
) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Announce one value of one metric."""
    event = event_pb2.WatchHyperParameterTuningJobResponse()
    _put_time(event.at, at)
    emitted = event.metric
    emitted.training_job_name, emitted.metric_name = trial_name, metric_name
    emitted.value, emitted.step = value, step
    return event


def log_event(
    trial_name: str, lines: Iterable[str], at: datetime
) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Announce lines of a training job's output."""
    written = event_pb2.LogWritten(training_job_name=trial_name, lines=lines)
    return event_pb2.WatchHyperParameterTuningJobResponse(at=timestamp(at), log=written)


def _summarise_in(
    spec: JobSpec, summary: tuning_job_pb2.HyperParameterTrainingJobSummary, trial: Trial
) -> None:
    _summarise(
        summary,
        trial,
        tuning_job_name=spec.name,
        arn=spec.account.training_job_arn(trial.name),
        metric_name=spec.definition_of(trial).metric_name,
    )
