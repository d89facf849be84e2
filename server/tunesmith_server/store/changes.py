"""What the store writes: each function is all or nothing, and run by the writer thread."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, assert_never

from tunesmith.v1 import event_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.effects import (
    Announce,
    AnnounceState,
    DropMeasurements,
    SaveMeasurement,
    SaveTrial,
)
from tunesmith_server.domain.errors import (
    Conflict,
    ResourceInUse,
    ResourceLimitExceeded,
    ResourceNotFound,
)
from tunesmith_server.domain.tuning_job import TuningJob
from tunesmith_server.domain.views import tuning_job_event
from tunesmith_server.store import reading, rows
from tunesmith_server.store.database import Database, Value
from tunesmith_server.store.store import Commit, NewJob, StoredJob

_CREATE: Final = "CreateHyperParameterTuningJob"
_COMMIT: Final = "commit"
_DELETE: Final = "DeleteHyperParameterTuningJob"
_DELETE_TRIAL: Final = "DeleteTrainingJob"


def create_job(database: Database, new: NewJob) -> StoredJob:
    """Write a new tuning job with its tags, its first events and its idempotency key.

    Raises:
        ResourceInUse: The name is taken.
        Conflict: The idempotency key was used for something else.
    """
    name = new.request.hyper_parameter_tuning_job_name
    digest = _digest(new.request if new.asked is None else new.asked)
    repeated = _repeated_create(database, new.request_id, digest)
    if repeated is not None:
        return repeated
    created_at = rows.from_time(new.created_at)
    row = database.one(
        "insert_job",
        name=name,
        arn=new.arn,
        request=new.request.SerializeToString(),
        seed=new.seed,
        created_at=created_at,
    )
    if row is None:
        raise ResourceInUse(
            f"A hyperparameter tuning job with the name, {name}, already exists. "
            f"Choose a different name."
        )
    job_id: int = row["job_id"]
    _put_tags(database, new.arn, new.tags)
    for position, parent_job_id in enumerate(new.parents):
        database.run("insert_parent", job_id=job_id, position=position, parent_job_id=parent_job_id)
    events = [
        (*rows.event_values(job_id, None, event), place) for place, event in enumerate(new.events)
    ]
    database.write_rows("insert_events", events)
    if new.request_id is not None:  # it was not used before, which was looked at
        database.run(
            "insert_request",
            request_id=new.request_id,
            operation=_CREATE,
            resource=name,
            job_id=job_id,
            digest=digest,
            requested_at=created_at,
        )
    return reading.job_by_id(database, job_id)


def _repeated_create(database: Database, request_id: str | None, digest: bytes) -> StoredJob | None:
    """Give the tuning job that a first call with this idempotency key created."""
    row = None if request_id is None else database.one("request", request_id=request_id)
    if row is None:
        return None
    if row["operation"] != _CREATE or row["digest"] != digest:
        raise _used(request_id, f"{row['operation']}/{row['resource']}")
    return reading.job_by_id(database, row["job_id"])


def _digest(request: pb.CreateHyperParameterTuningJobRequest) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


def _used(request_id: str | None, by: str) -> Conflict:
    return Conflict(
        f"The request id {request_id} was used before, for {by} with other content; "
        f"a new request needs an id of its own."
    )


def apply(database: Database, commits: Sequence[Commit]) -> None:
    """Apply changes of different tuning jobs together.

    Each kind of row is written by a few statements, however many changes there are: Python's lock
    is let go of at every statement, and a busy event loop gives it back after 5 ms.

    Raises:
        Conflict: One of them is not on the version that it was decided on, or an item of it was
            written before; what has been written of them is to be rolled back.
    """
    together = _Rows()
    for commit in commits:
        together.add(commit)
    together.write(database)
    for commit in commits:
        if commit.request_id is not None:
            _note_commit(database, commit.job, commit.request_id)


class _Rows:
    """Collect the rows of changes, and write them kind by kind."""

    def __init__(self) -> None:
        self._jobs: list[TuningJob] = []
        self._new_trials: list[Sequence[Value]] = []
        self._new_names: list[Sequence[Value]] = []
        self._trials: list[Sequence[Value]] = []
        self._dropped: list[tuple[int, str]] = []
        self._measurements: list[Sequence[Value]] = []
        self._events: list[Sequence[Value]] = []

    def add(self, commit: Commit) -> None:
        """Take in a change of a tuning job of which there is none yet."""
        job_id = commit.job.job_id
        self._jobs.append(commit.job)
        new: dict[str, SaveTrial] = {}
        known: dict[str, SaveTrial] = {}
        measured: list[SaveMeasurement] = []
        # Of several in one change the last one tells all.
        last_state = next(
            (e for e in reversed(commit.durable) if isinstance(e, AnnounceState)), None
        )
        for durable in commit.durable:
            match durable:
                case SaveTrial():
                    name = durable.trial.name
                    (new if durable.is_new or name in new else known)[name] = durable
                case SaveMeasurement():
                    measured.append(durable)
                case DropMeasurements():
                    name = durable.trial_name
                    self._dropped.append((job_id, name))
                    measured = [each for each in measured if each.trial_name != name]
                case Announce():
                    self._add_event(job_id, durable.trial_name, durable.message)
                case AnnounceState():
                    if durable is last_state:
                        self._add_event(job_id, None, tuning_job_event(durable.state))
                case _:
                    assert_never(durable)
        self._new_trials += [rows.new_trial_values(job_id, save.trial) for save in new.values()]
        self._new_names += [(name,) for name in new]
        self._trials += [rows.trial_values(job_id, save.trial) for save in known.values()]
        self._measurements += [rows.measurement_values(job_id, each) for each in measured]

    def write(self, database: Database) -> None:
        """Write all, in an order in which what is referred to comes first.

        Raises:
            Conflict: As ``apply`` says.
        """
        self._write(database, "insert_trials", self._new_trials)
        database.write_rows("inherit_tags", self._new_names)
        self._write(database, "update_trials", self._trials)
        self._write(database, "update_jobs", [rows.job_values(job) for job in self._jobs])
        database.write_rows("move_jobs", [rows.job_status_values(job) for job in self._jobs])
        for job_id, name in self._dropped:
            row = database.one("trial_id", job_id=job_id, name=name)
            if row is None:
                raise self._conflict("drop_measurements")
            database.run("drop_measurements", training_job_id=row["training_job_id"])
        self._write(database, "insert_measurements", self._measurements)
        self._write(database, "insert_events", self._events)

    def _add_event(
        self,
        job_id: int,
        trial_name: str | None,
        message: event_pb2.WatchHyperParameterTuningJobResponse,
    ) -> None:
        place = len(self._events)
        self._events.append((*rows.event_values(job_id, trial_name, message), place))

    def _write(self, database: Database, name: str, values: Sequence[Sequence[Value]]) -> None:
        if database.write_rows(name, values) != len(values):
            raise self._conflict(name)

    def _conflict(self, what: str) -> Conflict:
        versions = ", ".join(f"number {job.job_id} at version {job.version}" for job in self._jobs)
        return Conflict(
            f"{what}: tuning job {versions} has changed or gone since the version before was read, "
            f"or one of the training jobs has ended or is not its own; read it again and decide "
            f"anew."
        )


def _note_commit(database: Database, job: TuningJob, request_id: str) -> None:
    noted = database.run(
        "insert_commit_request",
        request_id=request_id,
        operation=_COMMIT,
        job_id=job.job_id,
        requested_at=rows.from_time(job.modified_at),
    )
    if not noted:
        raise _used(request_id, reading.find_request(database, request_id) or "another request")


def delete_job(
    database: Database, job_id: int, deleted_at: datetime, request_id: str | None
) -> bool:
    """Hide a tuning job, free its name and forget its tags; False: there is none.

    Raises:
        Conflict: The idempotency key was used before.
    """
    at = rows.from_time(deleted_at)
    row = database.one("delete_job", job_id=job_id, deleted_at=at)
    if row is None:
        return False
    # A tuning job made anew under the name has the same ARN, and starts without tags.
    database.run("delete_all_tags", arn=row["arn"])
    _note_deletion(database, request_id, f"{_DELETE}/{row['name']}", job_id=job_id, at=at)
    return True


def delete_trial(
    database: Database, name: str, deleted_at: datetime, request_id: str | None
) -> bool:
    """Hide an ended training job and forget its tags; False: there is none.

    Raises:
        Conflict: The idempotency key was used before.
    """
    at = rows.from_time(deleted_at)
    row = database.one("delete_trial", name=name, deleted_at=at)
    if row is None:
        return False
    database.run("delete_all_tags", arn=row["arn"])
    done = f"{_DELETE_TRIAL}/{row['name']}"
    _note_deletion(database, request_id, done, job_id=row["job_id"], at=at)
    return True


def _note_deletion(
    database: Database, request_id: str | None, done: str, *, job_id: int, at: int
) -> None:
    if request_id is None:
        return
    operation, _, resource = done.partition("/")
    noted = database.run(
        "insert_request",
        request_id=request_id,
        operation=operation,
        resource=resource,
        job_id=job_id,
        digest=None,
        requested_at=at,
    )
    if not noted:
        raise _used(request_id, reading.find_request(database, request_id) or "another request")


def add_tags(
    database: Database, arn: str, tags: Mapping[str, str], limit: int
) -> Mapping[str, str]:
    """Add or overwrite tags and give all of them.

    Raises:
        ResourceNotFound: No such resource.
        ResourceLimitExceeded: There would be more than ``limit``.
    """
    found = _resource(database, arn)
    _put_tags(database, found, tags)
    stored = reading.tags_of(database, found)
    if len(stored) > limit:
        raise ResourceLimitExceeded(
            f"{arn} would have {len(stored)} tags; a resource may have at most {limit}."
        )
    return stored


def delete_tags(database: Database, arn: str, keys: Sequence[str]) -> None:
    """Remove tags; keys that are not there are passed over.

    Raises:
        ResourceNotFound: No such resource.
    """
    found = _resource(database, arn)
    for key in keys:
        database.run("delete_tag", arn=found, key=key)


def _resource(database: Database, arn: str) -> str:
    """Find a resource and give its ARN as it is stored."""
    row = database.one("resource_arn", arn=arn)
    if row is None:
        raise ResourceNotFound(f"There is no tuning job or training job with the ARN {arn}.")
    found: str = row["arn"]
    return found


def _put_tags(database: Database, arn: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        database.run("put_tag", arn=arn, key=key, value=value)
