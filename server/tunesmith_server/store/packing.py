"""What the domain wants written, as the plain values that the writer takes."""

from __future__ import annotations

import hashlib
from typing import assert_never

from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.effects import (
    Announce,
    AnnounceState,
    DropMeasurements,
    SaveMeasurement,
    SaveTrial,
)
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.domain.tuning_job import TuningJob
from tunesmith_server.domain.views import tuning_job_event
from tunesmith_server.store import rows
from tunesmith_server.store.store import Commit, NewJob, StoredJob
from tunesmith_server.store.writes import CommitRows, NewJobRows, Row


def new_job_rows(new: NewJob) -> NewJobRows:
    """Pack a tuning job's creation."""
    return NewJobRows(
        name=new.request.hyper_parameter_tuning_job_name,
        arn=new.arn,
        request=new.request.SerializeToString(),
        digest=_digest(new.request if new.asked is None else new.asked),
        seed=new.seed,
        created_at=rows.from_time(new.created_at),
        tags=dict(new.tags),
        parents=tuple(new.parents),
        events=[rows.event_values(0, None, event)[2:] for event in new.events],
        request_id=new.request_id,
    )


def created(new: NewJob, job_id: int) -> StoredJob:
    """Give a tuning job as it is stored once it has been created."""
    job = TuningJob(
        job_id=job_id,
        status=TuningJobStatus.IN_PROGRESS,
        created_at=new.created_at,
        modified_at=new.created_at,
    )
    return StoredJob(request=new.request, arn=new.arn, seed=new.seed, job=job, in_progress=0)


def commit_rows(commit: Commit) -> CommitRows:
    """Pack a change of a tuning job.

    Raises:
        ValueError: An event is about nothing.
    """
    job_id = commit.job.job_id
    new: dict[str, SaveTrial] = {}
    known: dict[str, SaveTrial] = {}
    dropped: list[str] = []
    measured: list[SaveMeasurement] = []
    events: list[Row] = []
    # Of several in one change the last one tells all.
    last_state = next((e for e in reversed(commit.durable) if isinstance(e, AnnounceState)), None)
    for durable in commit.durable:
        match durable:
            case SaveTrial():
                name = durable.trial.name
                (new if durable.is_new or name in new else known)[name] = durable
            case SaveMeasurement():
                measured.append(durable)
            case DropMeasurements():
                name = durable.trial_name
                dropped.append(name)
                measured = [each for each in measured if each.trial_name != name]
            case Announce():
                events.append(rows.event_values(job_id, durable.trial_name, durable.message))
            case AnnounceState():
                if durable is last_state:
                    message = tuning_job_event(durable.state)
                    events.append(rows.event_values(job_id, None, message))
            case _:
                assert_never(durable)
    return CommitRows(
        job_id=job_id,
        job=rows.job_values(commit.job),
        status=rows.job_status_values(commit.job),
        new_trials=[rows.new_trial_values(job_id, save.trial) for save in new.values()],
        new_names=[(name,) for name in new],
        trials=[rows.trial_values(job_id, save.trial) for save in known.values()],
        dropped=dropped,
        measurements=[rows.measurement_values(job_id, each) for each in measured],
        events=events,
        request_id=commit.request_id,
        modified_at=rows.from_time(commit.job.modified_at),
    )


def _digest(request: pb.CreateHyperParameterTuningJobRequest) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
