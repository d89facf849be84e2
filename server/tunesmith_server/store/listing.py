"""Pages of listings: which rows come next after the last one that was seen.

A page starts above a position, (sort key, name), rather than at a count, so that what is written
between two pages neither hides an item nor shows one twice. Names are unique among what is listed:
they break ties, in the direction of the listing.

Of the sort keys status alone changes while pages are read. So a listing by status goes by the
statuses at its first page: ``moved.py`` looks up those that were different then.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from tunesmith_server.domain.errors import InvalidPagingToken
from tunesmith_server.store import moved, reading, rows
from tunesmith_server.store.database import Database, Value
from tunesmith_server.store.store import (
    JobQuery,
    JobSortKey,
    Page,
    Position,
    SortOrder,
    StoredJob,
    StoredTrial,
    TimeFilter,
    TrialQuery,
    TrialSortKey,
)

_MICROSECONDS: Final = 1_000_000
_EARLIEST: Final = -(2**63)
_LATEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """Describe a sort key.

    Attributes:
        column: The expression that rows are sorted by.
        kind: What its values are; a position holds a time in seconds.
    """

    column: str
    kind: Literal["text", "number", "time"]


_JOB_KEYS: Final[Mapping[JobSortKey, _Key]] = {
    JobSortKey.NAME: _Key(column="job.name", kind="text"),
    JobSortKey.STATUS: _Key(column="job.status", kind="text"),
    JobSortKey.CREATION_TIME: _Key(column="job.created_at", kind="time"),
}
_TRIAL_KEYS: Final[Mapping[TrialSortKey, _Key]] = {
    TrialSortKey.NAME: _Key(column="trial.name", kind="text"),
    TrialSortKey.STATUS: _Key(column="trial.status", kind="text"),
    TrialSortKey.CREATION_TIME: _Key(column="trial.created_at", kind="time"),
    # A comparison with NULL is never true: trials without an objective are left out by the
    # bounds of the page, the first page's too.
    TrialSortKey.FINAL_OBJECTIVE_METRIC_VALUE: _Key(column="trial.objective_value", kind="number"),
}
#: The columns that number rows, and those rows whose numbers are keys of a JSON object.
_NUMBERS: Final[Mapping[str, str]] = {"job": "job.job_id", "trial": "trial.training_job_id"}
_MOVED: Final = "(SELECT CAST(key AS INTEGER) FROM json_each(:moved))"
_DIRECTIONS: Final[Mapping[SortOrder, tuple[str, str]]] = {
    SortOrder.ASCENDING: (">", "ASC"),
    SortOrder.DESCENDING: ("<", "DESC"),
}


def list_jobs(database: Database, query: JobQuery) -> Page[StoredJob]:
    """Read a page of tuning jobs."""
    key = _JOB_KEYS[query.sort_by]
    as_of = None
    statuses: Mapping[int, str] = {}
    if query.sort_by is JobSortKey.STATUS:
        as_of = _as_of(database, query)
        statuses = moved.jobs(database, as_of)
    values = _values(key, query)
    found = _page(database, "list_jobs", query=query, key=key, statuses=statuses, values=values)
    items = tuple(reading.stored_job(database, row) for row in found[: query.limit])
    if len(found) <= query.limit:
        return Page(items=items, next=None)
    return Page(items=items, next=_position(key, found[query.limit - 1], as_of))


def list_trials(database: Database, query: TrialQuery) -> Page[StoredTrial]:
    """Read a page of training jobs, each with its tuning job."""
    key = _TRIAL_KEYS[query.sort_by]
    name = "list_trials" if query.job_id is None else "list_trials_of_job"
    as_of = None
    statuses: Mapping[int, str] = {}
    if query.sort_by is TrialSortKey.STATUS:
        as_of = _as_of(database, query)
        statuses = moved.trials(database, as_of, query.job_id)
    values = {**_values(key, query), "job_id": query.job_id}
    found = _page(database, name, query=query, key=key, statuses=statuses, values=values)
    shown = found[: query.limit]
    jobs = {
        job_id: reading.job_by_id(database, job_id) for job_id in {row["job_id"] for row in shown}
    }
    items = tuple(StoredTrial(trial=rows.trial(row), job=jobs[row["job_id"]]) for row in shown)
    if len(found) <= query.limit:
        return Page(items=items, next=None)
    return Page(items=items, next=_position(key, shown[-1], as_of))


def _as_of(database: Database, query: JobQuery | TrialQuery) -> int:
    """Give the event up to which changes of status are taken note of."""
    if query.after is not None and query.after.as_of is not None:
        return query.after.as_of
    return moved.last_sequence(database)


def _page(
    database: Database,
    name: str,
    *,
    query: JobQuery | TrialQuery,
    key: _Key,
    statuses: Mapping[int, str],
    values: Mapping[str, Value],
) -> list[sqlite3.Row]:
    """Read a page's rows, and one more if there is one.

    Args:
        database: What is read.
        name: The statement.
        query: What is asked for.
        key: What it is sorted by.
        statuses: The statuses to sort by of rows that have another one now, by the row's number.
        values: What is bound.
    """
    if not statuses:
        return database.page(name, _parts(key, query), values)
    values = {**values, "moved": json.dumps(statuses)}
    table = key.column.partition(".")[0]
    number = _NUMBERS[table]
    before = _Key(column=f"json_extract(:moved, '$.\"' || {number} || '\"')", kind="text")
    found = database.page(name, _parts(key, query, f"AND {number} NOT IN {_MOVED}"), values)
    found += database.page(name, _parts(before, query, f"AND {number} IN {_MOVED}"), values)
    found.sort(
        key=lambda row: (row["sort_key"], row["name"].lower()),
        reverse=query.order is SortOrder.DESCENDING,
    )
    return found[: query.limit + 1]


def _parts(key: _Key, query: JobQuery | TrialQuery, moved: str = "") -> Mapping[str, str]:
    beyond, direction = _DIRECTIONS[query.order]
    return {"key": key.column, "beyond": beyond, "direction": direction, "moved": moved}


def _values(key: _Key, query: JobQuery | TrialQuery) -> dict[str, Value]:
    after_key, after_name = _start(key, query)
    created_after, created_before = _bounds(query.created)
    modified_after, modified_before = _bounds(query.modified)
    return {
        "after_key": after_key,
        "after_name": after_name,
        "name_contains": query.name_contains or "",
        "status": None if query.status is None else query.status.value,
        "created_after": created_after,
        "created_before": created_before,
        "modified_after": modified_after,
        "modified_before": modified_before,
        "limit": query.limit + 1,  # one more tells whether there is another page
    }


def _start(key: _Key, query: JobQuery | TrialQuery) -> tuple[Value, Value]:
    """Give the key and name that the page's items lie beyond."""
    if query.after is not None:
        return _stored_key(key, query.after.key), query.after.name
    if query.order is SortOrder.DESCENDING:
        return b"", b""  # SQLite sorts every number and every text before any blob
    return ("" if key.kind == "text" else -math.inf), ""


def _stored_key(key: _Key, value: str | float) -> Value:
    """Read a position's key back into the column's values."""
    if isinstance(value, str) is not (key.kind == "text"):
        raise InvalidPagingToken("It does not fit the sort key")
    if isinstance(value, str) or key.kind == "number":
        return value
    microseconds = value * _MICROSECONDS
    if not _EARLIEST < microseconds < _LATEST:
        raise InvalidPagingToken("Its time is out of range")
    return round(microseconds)


def _position(key: _Key, last: sqlite3.Row, as_of: int | None) -> Position:
    """Say where a page ended. Seconds tell microseconds apart until the year 2242."""
    stored: str | float = last["sort_key"]
    if key.kind == "time" and not isinstance(stored, str):
        stored /= _MICROSECONDS
    return Position(key=stored, name=last["name"], as_of=as_of)


def _bounds(times: TimeFilter) -> tuple[int, int]:
    after = _EARLIEST if times.after is None else rows.from_time(times.after)
    before = _LATEST if times.before is None else rows.from_time(times.before)
    return after, before
