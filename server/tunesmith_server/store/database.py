"""Connections to the database file, each with the statements that run on it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tunesmith_server.store.open_errors import StoreOpenError
from tunesmith_server.store.statements import Statements

Value = str | int | float | bytes | None

#: STRICT tables came with 3.37, JSON in every build with 3.38.
OLDEST_SQLITE: Final = (3, 38, 0)
#: Statements that a connection keeps compiled: all of ours, in every form that they take.
_CACHED_STATEMENTS: Final = 256
#: The log is written back into the database when it has this many pages, 32 MiB. Pages of busy tuning
#: jobs are in it dozens of times, and are written back once; with 1000, SQLite's own choice, it was
#: half of what a commit takes under load.
_LOGGED_PAGES: Final = 8000
#: Rows that one statement writes at most, a power of two; SQLite binds 32 766 values at most.
_ROWS_MAX: Final = 512


class Database:
    """Run named statements on one connection, for one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        self._for_rows: dict[tuple[str, int], str] = {}

    def all(self, name: str, /, **values: Value) -> list[sqlite3.Row]:
        """Run a statement and give all its rows."""
        rows: list[sqlite3.Row] = self._connection.execute(
            self._statements[name], values
        ).fetchall()
        return rows

    def one(self, name: str, /, **values: Value) -> sqlite3.Row | None:
        """Run a statement and give its first row, if there is one."""
        # All rows are read: a statement that is still open would hold up the commit.
        rows = self.all(name, **values)
        return rows[0] if rows else None

    def run(self, name: str, /, **values: Value) -> int:
        """Run a statement that gives no rows, and tell how many it changed."""
        return self._connection.execute(self._statements[name], values).rowcount

    def write_rows(self, name: str, rows: Sequence[Sequence[Value]]) -> int:
        """Run a statement for any number of rows in their order, and tell how many it wrote.

        Their number is made a power of two, so that there are few statements to compile, by rows of
        nothing but NULL: the statement must write none of these.
        """
        written = 0
        for start in range(0, len(rows), _ROWS_MAX):
            some = rows[start : start + _ROWS_MAX]
            width, count = len(some[0]), 1 << (len(some) - 1).bit_length()
            values = [value for row in some for value in row]
            values += [None] * (width * (count - len(some)))
            sql = self._sql_for_rows(name, count, width)
            written += self._connection.execute(sql, values).rowcount
        return written

    def _sql_for_rows(self, name: str, count: int, width: int) -> str:
        sql = self._for_rows.get((name, count))
        if sql is None:
            places = f"({', '.join('?' * width)})"
            sql = self._statements.filled(name, {"rows": ", ".join([places] * count)})
            self._for_rows[name, count] = sql
        return sql

    def page(
        self, name: str, parts: Mapping[str, str], values: Mapping[str, Value]
    ) -> list[sqlite3.Row]:
        """Run a listing, with its parts filled in, and give all its rows."""
        rows: list[sqlite3.Row] = self._connection.execute(
            self._statements.filled(name, parts), values
        ).fetchall()
        return rows

    def control(self, sql: str) -> None:
        """Begin, end or mark a transaction."""
        self._connection.execute(sql)

    @property
    def in_transaction(self) -> bool:
        """Tell whether a transaction is open."""
        return self._connection.in_transaction

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything that is read inside come from one state of the database."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open the connection that writes, and create the file if there is none.

    Raises:
        StoreOpenError: The file cannot be opened, or not with the durability that is promised.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(str(part) for part in OLDEST_SQLITE)
        raise StoreOpenError(
            path, f"it needs SQLite {wanted} or newer, this Python has {sqlite3.sqlite_version}."
        )
    try:
        return _connect(path, mode="rwc")
    except sqlite3.OperationalError as error:
        raise StoreOpenError(path, f"{error}; is {path.parent} a folder to write in?") from error


def make_durable(connection: sqlite3.Connection, path: Path) -> None:
    """Set up the writing connection so that a commit is on disk when it returns.

    Raises:
        StoreOpenError: The file system cannot hold a write-ahead log.
    """
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreOpenError(
            path, f"its folder cannot hold a write-ahead log (mode {mode}); use a local disk."
        )
    connection.execute("PRAGMA synchronous = FULL")
    # Where fsync does not reach the platter (macOS), ask for what does; elsewhere no effect.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOGGED_PAGES}")
    connection.execute("PRAGMA foreign_keys = ON")
    # A new file survives a power cut only once its folder is on disk too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that can only read; it never waits for the writer."""
    return _connect(path, mode="ro")


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,  # transactions are ours
        check_same_thread=False,  # opened and closed by others than its thread, never at once
        cached_statements=_CACHED_STATEMENTS,
    )
    connection.row_factory = sqlite3.Row
    return connection
