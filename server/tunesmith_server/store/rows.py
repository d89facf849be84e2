"""Rows to dataclasses and back.

Times are whole microseconds since the epoch: exact, and sortable. A metric's value may be NaN or
infinite, which neither JSON nor (for NaN) SQLite can hold: in the JSON of a trial such a value
is the string that ``float`` reads, in ``measurements`` NULL is NaN. A zero loses its sign.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from tunesmith.v1 import event_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.completion import Criterion
from tunesmith_server.domain.effects import SaveMeasurement
from tunesmith_server.domain.history import Outcome
from tunesmith_server.domain.names import TRAINING_JOB_RESOURCE, TUNING_JOB_RESOURCE
from tunesmith_server.domain.states import (
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import (
    FailureKind,
    Lease,
    Measurement,
    StatusTransition,
    Trial,
)
from tunesmith_server.domain.tuning_job import Closing, Counters, TuningJob
from tunesmith_server.store.database import Value
from tunesmith_server.store.store import Curve, StoredJob
from tunesmith_server.store.verdict_json import from_number, from_verdict, to_verdict

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

#: Which kind of event each member of the message is; also the names of the kinds in SQL.
_EVENT_KINDS: Final = {
    "tuning_job": event_pb2.WATCH_EVENT_KIND_TUNING_JOB,
    "training_job": event_pb2.WATCH_EVENT_KIND_TRAINING_JOB,
    "metric": event_pb2.WATCH_EVENT_KIND_METRIC,
    "log": event_pb2.WATCH_EVENT_KIND_LOG,
}


def from_time(at: datetime) -> int:
    """Give an aware time as microseconds since the epoch."""
    return (at - _EPOCH) // _MICROSECOND


def to_time(microseconds: int) -> datetime:
    """Read microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _from_time_or_none(at: datetime | None) -> int | None:
    return None if at is None else from_time(at)


def _to_time_or_none(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else to_time(microseconds)


# --- tuning jobs ---------------------------------------------------------------------------


def job_values(job: TuningJob) -> tuple[Value, ...]:
    """Give what ``update_jobs`` writes."""
    counters = job.counters
    return (
        job.job_id,
        job.version,
        from_time(job.modified_at),
        job.launched,
        int(job.exhausted),
        counters.completed,
        counters.stopped,
        counters.retryable_error,
        counters.non_retryable_error,
        counters.objective_succeeded,
        counters.objective_failed,
        None if job.best is None else job.best.name,
        job.not_improving,
        _from_time_or_none(job.converged_at),
    )


def job_status_values(job: TuningJob) -> tuple[Value, ...]:
    """Give what ``move_jobs`` writes."""
    closing = job.closing
    return (
        job.job_id,
        job.status.value,
        _from_time_or_none(job.ended_at),
        job.failure_reason,
        None if closing is None else closing.status.value,
        None if closing is None else closing.reason,
        None if closing is None or closing.criterion is None else closing.criterion.value,
    )


def stored_job(row: sqlite3.Row, best: Trial | None) -> StoredJob:
    """Read a tuning job; its best training job is another row."""
    return StoredJob(
        request=pb.CreateHyperParameterTuningJobRequest.FromString(row["request"]),
        arn=row["arn"],
        seed=row["seed"],
        job=_tuning_job(row, best),
        in_progress=row["in_progress"],
    )


def _tuning_job(row: sqlite3.Row, best: Trial | None) -> TuningJob:
    return TuningJob(
        job_id=row["job_id"],
        status=TuningJobStatus(row["status"]),
        created_at=to_time(row["created_at"]),
        modified_at=to_time(row["modified_at"]),
        launched=row["launched"],
        exhausted=bool(row["exhausted"]),
        closing=_closing(row),
        counters=Counters(
            completed=row["completed"],
            stopped=row["stopped"],
            retryable_error=row["retryable_error"],
            non_retryable_error=row["non_retryable_error"],
            objective_succeeded=row["objective_succeeded"],
            objective_failed=row["objective_failed"],
        ),
        best=best,
        not_improving=row["not_improving"],
        converged_at=_to_time_or_none(row["converged_at"]),
        ended_at=_to_time_or_none(row["ended_at"]),
        failure_reason=row["failure_reason"],
        version=row["version"],
    )


def _closing(row: sqlite3.Row) -> Closing | None:
    status, criterion = row["closing_status"], row["closing_criterion"]
    if status is None:
        return None
    return Closing(
        status=TuningJobStatus(status),
        reason=row["closing_reason"],
        criterion=None if criterion is None else Criterion(criterion),
    )


# --- training jobs -------------------------------------------------------------------------


def trial_values(job_id: int, trial: Trial) -> tuple[Value, ...]:
    """Give what ``update_trials`` writes."""
    lease, kind = trial.lease, trial.failure_kind
    return (
        job_id,
        trial.name,
        trial.status.value,
        trial.secondary_status.value,
        trial.objective_status.value,
        from_time(trial.modified_at),
        _from_time_or_none(trial.training_started_at),
        _from_time_or_none(trial.ended_at),
        _from_transitions(trial.transitions),
        _from_metrics(trial.metrics),
        trial.lease_token,
        None if lease is None else lease.runner_name,
        None if lease is None else lease.instance_id,
        trial.reported_sequence,
        int(trial.stop_requested),
        trial.objective_value,
        None if kind is None else kind.value,
        trial.failure_reason,
        trial.model_artifacts_uri,
        trial.completion_id,
        trial.retries,
        trial.spent // _MICROSECOND,
        trial.objective_failure_reason,
        None if trial.verdict is None else from_verdict(trial.verdict),
        int(trial.pause_requested),
    )


def new_trial_values(job_id: int, trial: Trial) -> tuple[Value, ...]:
    """Give what ``insert_trials`` writes: what ``update_trials`` does, and what never changes."""
    return (
        *trial_values(job_id, trial),
        trial.index,
        trial.definition_name,
        json.dumps(dict(trial.parameters)),
        from_time(trial.created_at),
        f":{TUNING_JOB_RESOURCE}/",
        f":{TRAINING_JOB_RESOURCE}/",
    )


def trial(row: sqlite3.Row) -> Trial:
    """Read a training job."""
    kind = row["failure_kind"]
    return Trial(
        name=row["name"],
        index=row["launch_index"],
        definition_name=row["definition_name"],
        parameters=to_parameters(row["parameters"]),
        secondary_status=SecondaryStatus(row["secondary_status"]),
        objective_status=ObjectiveStatus(row["objective_status"]),
        created_at=to_time(row["created_at"]),
        modified_at=to_time(row["modified_at"]),
        transitions=_to_transitions(row["transitions"]),
        training_started_at=_to_time_or_none(row["training_started_at"]),
        ended_at=_to_time_or_none(row["ended_at"]),
        lease=_lease(row),
        lease_token=row["lease_token"],
        reported_sequence=row["reported_sequence"],
        stop_requested=bool(row["stop_requested"]),
        metrics=_to_metrics(row["metrics"]),
        objective_value=row["objective_value"],
        failure_kind=None if kind is None else FailureKind(kind),
        failure_reason=row["failure_reason"],
        model_artifacts_uri=row["model_artifacts_uri"],
        completion_id=row["completion_id"],
        retries=row["retries"],
        spent=row["spent"] * _MICROSECOND,
        objective_failure_reason=row["objective_failure_reason"],
        verdict=None if row["verdict"] is None else to_verdict(row["verdict"]),
        pause_requested=bool(row["pause_requested"]),
    )


def to_parameters(text: str) -> dict[str, str]:
    """Read a configuration."""
    parameters: dict[str, str] = json.loads(text)
    return parameters


def measurement_values(job_id: int, saved: SaveMeasurement) -> tuple[Value, ...]:
    """Give what ``insert_measurements`` writes."""
    return (
        job_id,
        saved.trial_name,
        saved.lease_token,
        saved.sequence,
        saved.metric_name,
        saved.step,
        saved.value,
        from_time(saved.measured_at),
    )


def outcome(row: sqlite3.Row) -> Outcome:
    """Read what has become of a training job."""
    return Outcome(
        index=row["launch_index"],
        suggestion=Suggestion(
            parameters=to_parameters(row["parameters"]), definition_name=row["definition_name"]
        ),
        status=TrainingJobStatus(row["status"]),
        failure_kind=None if row["failure_kind"] is None else FailureKind(row["failure_kind"]),
        objective_value=row["objective_value"],
        modified_at=to_time(row["modified_at"]),
        is_resting=row["secondary_status"] == SecondaryStatus.INTERRUPTED,
    )


def measurement(row: sqlite3.Row) -> tuple[str, int, float, datetime]:
    """Read one value of a metric as (metric, step, value, time)."""
    value = math.nan if row["value"] is None else row["value"]
    return row["metric_name"], row["step"], value, to_time(row["measured_at"])


def curve(trial_name: str, found: Sequence[sqlite3.Row]) -> Curve:
    """Read the values of one training job's metric, of which there is at least one."""
    first = found[0]
    return Curve(
        trial_name=trial_name,
        index=first["launch_index"],
        suggestion=Suggestion(
            parameters=to_parameters(first["parameters"]),
            definition_name=first["definition_name"],
        ),
        status=TrainingJobStatus(first["status"]),
        lease_tokens=tuple(row["lease_token"] for row in found),
        times=tuple(to_time(row["measured_at"]) for row in found),
        steps=tuple(row["step"] for row in found),
        values=tuple(math.nan if row["value"] is None else row["value"] for row in found),
    )


def _lease(row: sqlite3.Row) -> Lease | None:
    """Read who holds a trial; a lease that is held is always the latest one."""
    if row["lease_runner_name"] is None:
        return None
    return Lease(
        token=row["lease_token"],
        runner_name=row["lease_runner_name"],
        instance_id=row["lease_instance_id"],
    )


def _from_transitions(transitions: tuple[StatusTransition, ...]) -> str:
    return json.dumps(
        [
            (
                transition.status.value,
                from_time(transition.started_at),
                _from_time_or_none(transition.ended_at),
                transition.message,
            )
            for transition in transitions
        ]
    )


def _to_transitions(text: str) -> tuple[StatusTransition, ...]:
    return tuple(
        StatusTransition(
            status=SecondaryStatus(status),
            started_at=to_time(started_at),
            ended_at=_to_time_or_none(ended_at),
            message=message,
        )
        for status, started_at, ended_at, message in json.loads(text)
    )


def _from_metrics(metrics: Mapping[str, Measurement]) -> str:
    return json.dumps(
        {
            name: (
                from_number(latest.value),
                latest.step,
                from_time(latest.measured_at),
            )
            for name, latest in metrics.items()
        }
    )


def _to_metrics(text: str) -> dict[str, Measurement]:
    return {
        name: Measurement(value=float(value), step=step, measured_at=to_time(measured_at))
        for name, (value, step, measured_at) in json.loads(text).items()
    }


# --- events --------------------------------------------------------------------------------


def event_values(
    job_id: int, trial_name: str | None, event: event_pb2.WatchHyperParameterTuningJobResponse
) -> tuple[Value, ...]:
    """Give what ``insert_events`` writes.

    Raises:
        ValueError: The event is about nothing.
    """
    about = event.WhichOneof("event")
    if about is None:
        raise ValueError(f"an event needs one of {', '.join(_EVENT_KINDS)}")
    return job_id, trial_name, _EVENT_KINDS[about], event.SerializeToString()


def kind_values(kinds: Collection[event_pb2.WatchEventKind.ValueType]) -> dict[str, Value]:
    """Give what the queries of events select kinds by; no kinds: all of them."""
    return {
        name: kind if kind in kinds or not kinds else None for name, kind in _EVENT_KINDS.items()
    }


def event(row: sqlite3.Row) -> event_pb2.WatchHyperParameterTuningJobResponse:
    """Read an event, with its number."""
    read = event_pb2.WatchHyperParameterTuningJobResponse.FromString(row["payload"])
    read.sequence = row["sequence"]
    return read
