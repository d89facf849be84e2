"""What the store writes: each function is one write, all or nothing, run by the writer thread."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, assert_never

from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.effects import (
    Announce,
    AnnounceState,
    DropMeasurements,
    Durable,
    SaveMeasurement,
    SaveTrial,
)
from tunesmith_server.domain.errors import (
    Conflict,
    ResourceInUse,
    ResourceLimitExceeded,
    ResourceNotFound,
)
from tunesmith_server.domain.names import TRAINING_JOB_RESOURCE, TUNING_JOB_RESOURCE
from tunesmith_server.domain.views import tuning_job_event
from tunesmith_server.store import reading, rows
from tunesmith_server.store.database import Database, Value
from tunesmith_server.store.store import Commit, NewJob, StoredJob

_CREATE: Final = "CreateHyperParameterTuningJob"
_COMMIT: Final = "commit"


def create_job(database: Database, new: NewJob) -> StoredJob:
    """Write a new tuning job with its tags, its first events and its idempotency key.

    Raises:
        ResourceInUse: The name is taken.
        Conflict: The idempotency key was used for something else.
    """
    name = new.request.hyper_parameter_tuning_job_name
    digest = _digest(new.request)
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
    events = [rows.event_values(job_id, None, event) for event in new.events]
    database.insert("insert_events", events)
    if new.request_id is not None:
        _note_request(
            database,
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


def _note_request(
    database: Database,
    *,
    request_id: str,
    operation: str,
    resource: str,
    job_id: int,
    digest: bytes | None,
    requested_at: int,
) -> None:
    noted = database.run(
        "insert_request",
        request_id=request_id,
        operation=operation,
        resource=resource,
        job_id=job_id,
        digest=digest,
        requested_at=requested_at,
    )
    if not noted:
        raise _used(request_id, reading.find_request(database, request_id) or "another request")


def apply(database: Database, commit: Commit) -> None:
    """Apply one change of a tuning job, if it is on the version that the change was decided on.

    Raises:
        Conflict: It is not, or an item of the change was written before.
    """
    job = commit.job
    row = database.one("update_job", **rows.job_values(job))
    if row is None:
        raise Conflict(
            f"Tuning job number {job.job_id} has changed or gone since version {job.version - 1} "
            f"was read; read it again and decide anew."
        )
    change = _Change(database, job.job_id)
    for durable in commit.durable:
        change.write(durable)
    change.finish()
    best = None if job.best is None else job.best.name
    database.run("set_best", job_id=job.job_id, best=best)
    if commit.request_id is not None:
        _note_request(
            database,
            request_id=commit.request_id,
            operation=_COMMIT,
            resource=row["name"],
            job_id=job.job_id,
            digest=None,
            requested_at=rows.from_time(job.modified_at),
        )


class _Change:
    """Write the durable effects of one change, in order; many of one kind at once."""

    def __init__(self, database: Database, job_id: int) -> None:
        self._database = database
        self._job_id = job_id
        # Row numbers of the trials met so far: most changes are about a single one.
        self._trial_ids: dict[str, int] = {}
        # Nothing that a change writes depends on these rows, except for dropping measurements.
        self._events: list[Sequence[Value]] = []
        self._measurements: list[Sequence[Value]] = []

    def write(self, durable: Durable) -> None:
        """Write one effect, or keep it for ``finish``."""
        match durable:
            case SaveTrial():
                self._save_trial(durable)
            case SaveMeasurement():
                trial_id = self._trial_id(durable.trial_name)
                self._measurements.append(rows.measurement_values(trial_id, durable))
            case DropMeasurements():
                self._drop_measurements(durable.trial_name)
            case Announce():
                about = durable.trial_name
                about_id = None if about is None else self._trial_id(about)
                values = rows.event_values(self._job_id, about_id, durable.message)
                self._events.append(values)
            case AnnounceState():
                message = tuning_job_event(durable.state)
                self._events.append(rows.event_values(self._job_id, None, message))
            case _:
                assert_never(durable)

    def finish(self) -> None:
        """Write what was kept."""
        self._insert_measurements()
        self._database.insert("insert_events", self._events)
        self._events = []

    def _insert_measurements(self) -> None:
        self._database.insert("insert_measurements", self._measurements)
        self._measurements = []

    def _save_trial(self, save: SaveTrial) -> None:
        trial = save.trial
        if save.is_new:
            row = self._database.one(
                "insert_trial",
                **rows.new_trial_values(trial),
                job_id=self._job_id,
                job_resource=TUNING_JOB_RESOURCE,
                trial_resource=TRAINING_JOB_RESOURCE,
            )
        else:
            row = self._database.one(
                "update_trial", **rows.trial_values(trial), job_id=self._job_id
            )
        if row is None:
            raise Conflict(
                f"Training job {trial.name} has ended, or tuning job number {self._job_id} "
                f"has none of that name; read it again and decide anew."
            )
        trial_id: int = row["training_job_id"]
        self._trial_ids[trial.name] = trial_id
        if save.is_new:
            self._database.run("inherit_tags", training_job_id=trial_id)

    def _drop_measurements(self, trial_name: str) -> None:
        self._insert_measurements()  # those before are dropped too, those after are not
        self._database.run("drop_measurements", training_job_id=self._trial_id(trial_name))

    def _trial_id(self, name: str) -> int:
        known = self._trial_ids.get(name)
        if known is not None:
            return known
        row = self._database.one("trial_id", name=name, job_id=self._job_id)
        if row is None:
            raise Conflict(f"Tuning job number {self._job_id} has no training job {name}.")
        trial_id: int = row["training_job_id"]
        self._trial_ids[name] = trial_id
        return trial_id


def delete_job(database: Database, job_id: int, deleted_at: datetime) -> bool:
    """Hide a tuning job, free its name and forget its tags; False: there is none."""
    row = database.one("delete_job", job_id=job_id, deleted_at=rows.from_time(deleted_at))
    if row is None:
        return False
    # A tuning job made anew under the name has the same ARN, and starts without tags.
    database.run("delete_all_tags", arn=row["arn"])
    return True


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
