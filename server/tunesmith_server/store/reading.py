"""What the store reads: functions on one connection, each from a single state of the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import groupby

from tunesmith.v1 import event_pb2
from tunesmith_server.domain.history import Outcome
from tunesmith_server.domain.trial import Trial
from tunesmith_server.store import rows
from tunesmith_server.store.database import Database
from tunesmith_server.store.store import Curve, StoredJob, StoredTrial


def job_by_name(database: Database, name: str) -> StoredJob | None:
    """Read the tuning job that bears a name now."""
    row = database.one("job_by_name", name=name)
    return None if row is None else stored_job(database, row)


def job_by_id(database: Database, job_id: int) -> StoredJob:
    """Read a tuning job that is known to exist, also a deleted one."""
    row = database.one("job_by_id", job_id=job_id)
    if row is None:
        raise LookupError(f"there is no tuning job with the number {job_id}")
    return stored_job(database, row)


def open_jobs(database: Database) -> tuple[StoredJob, ...]:
    """Read the tuning jobs that have not ended, oldest first."""
    return tuple(stored_job(database, row) for row in database.all("open_jobs"))


def parents(database: Database, job_id: int) -> tuple[StoredJob, ...]:
    """Read the tuning jobs that a tuning job starts with, in the order of its request."""
    return tuple(stored_job(database, row) for row in database.all("parents", job_id=job_id))


def stored_job(database: Database, row: sqlite3.Row) -> StoredJob:
    """Complete a tuning job's row with its best training job."""
    name = row["best_training_job_name"]
    return rows.stored_job(row, None if name is None else _best_trial(database, name))


def _best_trial(database: Database, name: str) -> Trial | None:
    row = database.one("best_trial", name=name)
    return None if row is None else rows.trial(row)


def open_trials(database: Database, job_id: int) -> tuple[Trial, ...]:
    """Read a tuning job's training jobs that have not ended, in launch order."""
    return tuple(rows.trial(row) for row in database.all("open_trials", job_id=job_id))


def outcomes(database: Database, job_id: int, first_index: int) -> tuple[Outcome, ...]:
    """Read what has become of a tuning job's training jobs from a launch index on, in its order."""
    found = database.all("outcomes", job_id=job_id, first_index=first_index)
    return tuple(rows.outcome(row) for row in found)


def trial_by_name(database: Database, name: str) -> StoredTrial | None:
    """Read a training job with the tuning job that launched it."""
    row = database.one("trial_by_name", name=name)
    if row is None:
        return None
    return StoredTrial(trial=rows.trial(row), job=job_by_id(database, row["job_id"]))


def measurements(
    database: Database, trial_name: str
) -> tuple[tuple[str, int, float, datetime], ...]:
    """Read all values of a training job's metrics in the order in which they were reported."""
    found = database.all("measurements", name=trial_name)
    return tuple(rows.measurement(row) for row in found)


def curves(
    database: Database, job_id: int, metric_name: str, indices: Collection[int] | None
) -> tuple[Curve, ...]:
    """Read what a tuning job's training jobs measured of a metric, those first that ended first."""
    wanted = None if indices is None else json.dumps(sorted(indices))
    found = database.all("curves", job_id=job_id, metric_name=metric_name, indices=wanted)
    return tuple(
        rows.curve(name, tuple(of_one))
        for name, of_one in groupby(found, key=lambda row: str(row["name"]))
    )


def events(
    database: Database,
    job_id: int,
    *,
    after: int,
    limit: int,
    trial_name: str | None,
    kinds: frozenset[event_pb2.WatchEventKind.ValueType],
) -> tuple[event_pb2.WatchHyperParameterTuningJobResponse, ...]:
    """Read a tuning job's events above a sequence, numbered; of all kinds if none is named."""
    values = {"job_id": job_id, "after": after, "limit": limit, **rows.kind_values(kinds)}
    if trial_name is None:
        found = database.all("events_of_job", **values)
    else:
        row = database.one("trial_id", name=trial_name, job_id=job_id)
        trial_id = None if row is None else row["training_job_id"]
        found = database.all("events_of_trial", **values, training_job_id=trial_id)
    return tuple(rows.event(row) for row in found)


def tags(database: Database, arn: str) -> Mapping[str, str] | None:
    """Read a resource's tags by key in order; None: no such resource."""
    if database.one("resource_arn", arn=arn) is None:
        return None
    return tags_of(database, arn)


def tags_of(database: Database, arn: str) -> Mapping[str, str]:
    """Read the tags of a resource that exists, by key in order."""
    return {row["key"]: row["value"] for row in database.all("tags", arn=arn)}


def find_request(database: Database, request_id: str) -> str | None:
    """Give what was done under an idempotency key, ``<operation>/<resource>``."""
    row = database.one("request", request_id=request_id)
    return None if row is None else f"{row['operation']}/{row['resource']}"
