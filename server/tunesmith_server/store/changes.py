"""What the store writes: each function is all or nothing, and run by the writer's process.

Its arguments and what it gives are plain values (``writes.py``). Nothing here loads protobuf: a
process that only writes is there in a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from tunesmith_server.domain.errors import (
    Conflict,
    ResourceInUse,
    ResourceLimitExceeded,
    ResourceNotFound,
)
from tunesmith_server.store.database import Database, Value
from tunesmith_server.store.writes import CommitRows, NewJobRows

_CREATE: Final = "CreateHyperParameterTuningJob"
_COMMIT: Final = "commit"
_DELETE: Final = "DeleteHyperParameterTuningJob"
_DELETE_TRIAL: Final = "DeleteTrainingJob"


def create_job(database: Database, new: NewJobRows) -> tuple[int, bool]:
    """Write a new tuning job with its tags, its first events and its idempotency key.

    Returns:
        Its number, and whether it was created now: not where this is a repeat.

    Raises:
        ResourceInUse: The name is taken.
        Conflict: The idempotency key was used for something else.
    """
    repeated = _repeated_create(database, new.request_id, new.digest)
    if repeated is not None:
        return repeated, False
    row = database.one(
        "insert_job",
        name=new.name,
        arn=new.arn,
        request=new.request,
        seed=new.seed,
        created_at=new.created_at,
    )
    if row is None:
        raise ResourceInUse(
            f"A hyperparameter tuning job with the name, {new.name}, already exists. "
            f"Choose a different name."
        )
    job_id: int = row["job_id"]
    _put_tags(database, new.arn, new.tags)
    for position, parent_job_id in enumerate(new.parents):
        database.run("insert_parent", job_id=job_id, position=position, parent_job_id=parent_job_id)
    database.write_rows(
        "insert_events",
        [(job_id, None, *event, place) for place, event in enumerate(new.events)],
    )
    if new.request_id is not None:  # it was not used before, which was looked at
        database.run(
            "insert_request",
            request_id=new.request_id,
            operation=_CREATE,
            resource=new.name,
            job_id=job_id,
            digest=new.digest,
            requested_at=new.created_at,
        )
    return job_id, True


def _repeated_create(database: Database, request_id: str | None, digest: bytes) -> int | None:
    """Give the tuning job that a first call with this idempotency key created."""
    row = None if request_id is None else database.one("request", request_id=request_id)
    if row is None:
        return None
    if row["operation"] != _CREATE or row["digest"] != digest:
        raise _used(request_id, f"{row['operation']}/{row['resource']}")
    job_id: int = row["job_id"]
    return job_id


def _used(request_id: str | None, by: str) -> Conflict:
    return Conflict(
        f"The request id {request_id} was used before, for {by} with other content; "
        f"a new request needs an id of its own."
    )


def commit(database: Database, commits: Sequence[CommitRows]) -> None:
    """Apply changes of different tuning jobs together.

    Each kind of row is written by a few statements, however many changes there are.

    Raises:
        Conflict: One of them is not on the version that it was decided on, or an item of it was
            written before; what has been written of them is to be rolled back.
    """

    def write(name: str, rows: Sequence[Sequence[Value]]) -> None:
        if database.write_rows(name, rows) != len(rows):
            raise _overtaken(name, commits)

    # In an order in which what is referred to comes first.
    write("insert_trials", [row for each in commits for row in each.new_trials])
    database.write_rows("inherit_tags", [row for each in commits for row in each.new_names])
    write("update_trials", [row for each in commits for row in each.trials])
    write("update_jobs", [each.job for each in commits])
    database.write_rows("move_jobs", [each.status for each in commits])
    for each in commits:
        for name in each.dropped:
            row = database.one("trial_id", job_id=each.job_id, name=name)
            if row is None:
                raise _overtaken("drop_measurements", commits)
            database.run("drop_measurements", training_job_id=row["training_job_id"])
    write("insert_measurements", [row for each in commits for row in each.measurements])
    events = chain.from_iterable(each.events for each in commits)
    write("insert_events", [(*event, place) for place, event in enumerate(events)])
    for each in commits:
        if each.request_id is not None:
            _note_commit(database, each, each.request_id)


def _overtaken(what: str, commits: Sequence[CommitRows]) -> Conflict:
    numbers = ", ".join(f"number {each.job_id}" for each in commits)
    return Conflict(
        f"{what}: tuning job {numbers} has changed or gone since the version before was read, "
        f"or one of the training jobs has ended or is not its own; read it again and decide "
        f"anew."
    )


def _note_commit(database: Database, commit: CommitRows, request_id: str) -> None:
    noted = database.run(
        "insert_commit_request",
        request_id=request_id,
        operation=_COMMIT,
        job_id=commit.job_id,
        requested_at=commit.modified_at,
    )
    if not noted:
        raise _used(request_id, _user_of(database, request_id))


def delete_job(database: Database, job_id: int, deleted_at: int, request_id: str | None) -> bool:
    """Hide a tuning job, free its name and forget its tags; False: there is none.

    Raises:
        Conflict: The idempotency key was used before.
    """
    row = database.one("delete_job", job_id=job_id, deleted_at=deleted_at)
    if row is None:
        return False
    # A tuning job made anew under the name has the same ARN, and starts without tags.
    database.run("delete_all_tags", arn=row["arn"])
    _note_deletion(database, request_id, f"{_DELETE}/{row['name']}", job_id=job_id, at=deleted_at)
    return True


def delete_trial(database: Database, name: str, deleted_at: int, request_id: str | None) -> bool:
    """Hide an ended training job and forget its tags; False: there is none.

    Raises:
        Conflict: The idempotency key was used before.
    """
    row = database.one("delete_trial", name=name, deleted_at=deleted_at)
    if row is None:
        return False
    database.run("delete_all_tags", arn=row["arn"])
    done = f"{_DELETE_TRIAL}/{row['name']}"
    _note_deletion(database, request_id, done, job_id=row["job_id"], at=deleted_at)
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
        raise _used(request_id, _user_of(database, request_id))


def _user_of(database: Database, request_id: str) -> str:
    """Name what an idempotency key was used for."""
    row = database.one("request", request_id=request_id)
    return "another request" if row is None else f"{row['operation']}/{row['resource']}"


def add_tags(database: Database, arn: str, tags: Mapping[str, str], limit: int) -> dict[str, str]:
    """Add or overwrite tags and give all of them.

    Raises:
        ResourceNotFound: No such resource.
        ResourceLimitExceeded: There would be more than ``limit``.
    """
    found = _resource(database, arn)
    _put_tags(database, found, tags)
    stored = {row["key"]: row["value"] for row in database.all("tags", arn=found)}
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
