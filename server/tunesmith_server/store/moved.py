"""Which statuses were different at an earlier event, as far as events tell.

An event about an item holds its status, and every change of status comes with one; of an item
without any, the status never changed. Costs as much as has been announced since.
"""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith.v1 import event_pb2, training_job_pb2, tuning_job_pb2
from tunesmith_server.domain.enum_names import sagemaker_name
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.store.database import Database

_TUNING_STATUS = tuning_job_pb2.HyperParameterTuningJobStatus.DESCRIPTOR
_TRAINING_STATUS = training_job_pb2.TrainingJobStatus.DESCRIPTOR


def last_sequence(database: Database) -> int:
    """Give the latest event's number; 0: there is none."""
    row = database.one("last_sequence")
    return 0 if row is None else row["sequence"] or 0


def jobs(database: Database, as_of: int) -> Mapping[int, str]:
    """Give the statuses, at an event, of the tuning jobs about which there are later ones."""
    statuses = {}
    for row in database.all("jobs_moved_since", as_of=as_of):
        said = _event(row["payload"]).tuning_job.hyper_parameter_tuning_job_status
        # One that was created later is placed as if it had been there: in one place, too.
        statuses[row["id"]] = sagemaker_name(_TUNING_STATUS, said) or TuningJobStatus.IN_PROGRESS
    return statuses


def trials(database: Database, as_of: int, job_id: int | None) -> Mapping[int, str]:
    """Give the statuses, at an event, of the training jobs about which there are later ones.

    Args:
        database: What is read.
        as_of: The event.
        job_id: Only training jobs of this tuning job.
    """
    statuses = {}
    for row in database.all("trials_moved_since", as_of=as_of, job_id=job_id):
        said = _event(row["payload"]).training_job.summary.training_job_status
        statuses[row["id"]] = (
            sagemaker_name(_TRAINING_STATUS, said) or TrainingJobStatus.IN_PROGRESS
        )
    return statuses


def _event(payload: bytes | None) -> event_pb2.WatchHyperParameterTuningJobResponse:
    return event_pb2.WatchHyperParameterTuningJobResponse.FromString(payload or b"")
