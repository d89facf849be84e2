"""Group commit: many writes in one transaction, as few statements as can be.

The changes of tuning jobs in a group are written with the same few statements. When one of them is
refused, and for all other writes, each has a savepoint of its own, so that one which is refused leaves
the others alone.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tunesmith_server.domain.errors import Conflict, StoreUnavailable, TunesmithError
from tunesmith_server.store import changes
from tunesmith_server.store.database import Database
from tunesmith_server.store.writes import CommitRows, NewJobRows, Outcome, Write

_COMMIT: Final = "commit"
_TAKEN: Final = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
_DURABLE: Final = Outcome(refused_as="", said=None)

#: What can be asked for by name, with plain arguments.
_CHANGES: Final[Mapping[str, Callable[..., object]]] = {
    "create_job": lambda database, rows: changes.create_job(database, NewJobRows(*rows)),
    "delete_job": changes.delete_job,
    "delete_trial": changes.delete_trial,
    "add_tags": changes.add_tags,
    "delete_tags": changes.delete_tags,
    _COMMIT: lambda database, rows: changes.commit(database, [CommitRows(*rows)]),
}


def write_group(database: Database, group: Sequence[Write]) -> list[Outcome]:
    """Make a group durable, or none of it; tell of each write what came of it, in order."""
    try:
        if database.in_transaction:
            database.control("ROLLBACK")  # that of the last group did not succeed
        database.control("BEGIN IMMEDIATE")
        outcomes = _written(database, group)
        database.control("COMMIT")
    except sqlite3.Error as error:
        if database.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                database.control("ROLLBACK")
        # Also those that were refused: what they were refused for did not happen.
        failed = StoreUnavailable(f"The change was not made: {error}.")
        return [_refused(failed)] * len(group)
    return outcomes


def _written(database: Database, group: Sequence[Write]) -> list[Outcome]:
    """Write a group.

    Raises:
        sqlite3.Error: The database or the disk fails, and with it the group.
    """
    together = _committed_together(database, group)
    return [
        _DURABLE if together and write.change == _COMMIT else _attempt(database, write)
        for write in group
    ]


def _committed_together(database: Database, group: Sequence[Write]) -> bool:
    """Write the changes of different tuning jobs at once, if none is refused.

    Raises:
        sqlite3.Error: The database or the disk fails, and with it the group.
    """
    commits = [CommitRows(*write.arguments[0]) for write in group if write.change == _COMMIT]  # type: ignore[misc]  # rows of the other end, which is this release too
    if len({commit.job_id for commit in commits}) < len(commits):
        return False
    try:
        changes.commit(database, commits)
    except Exception as error:
        if _fails_the_group(error):
            raise
        database.control("ROLLBACK")
        database.control("BEGIN IMMEDIATE")
        return False
    return True


def _attempt(database: Database, write: Write) -> Outcome:
    """Carry out one write; what it is refused for stays its own affair.

    Raises:
        sqlite3.Error: The database or the disk fails, and with it the group.
    """
    database.control("SAVEPOINT one_write")
    try:
        outcome = Outcome("", _CHANGES[write.change](database, *write.arguments))
    except Exception as error:
        if _fails_the_group(error):
            raise
        database.control("ROLLBACK TO one_write")
        outcome = _refused(error)
    database.control("RELEASE one_write")
    return outcome


def _fails_the_group(error: Exception) -> bool:
    """Tell a failing disk or database from a write that is refused or wrong in itself."""
    refused = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, refused)


def _refused(error: Exception) -> Outcome:
    """Say what a refused write is told: what is there already came first."""
    if isinstance(error, sqlite3.IntegrityError) and error.sqlite_errorcode in _TAKEN:
        error = Conflict(f"It was written before ({error}); read it again and decide anew.")
    if isinstance(error, TunesmithError):
        return Outcome(type(error).__name__, str(error))
    return Outcome("bug", f"{type(error).__name__}: {error}")
