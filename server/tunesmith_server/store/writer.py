"""The one thread that writes, with group commit.

Syncing the disk is what a commit costs. Everything that was queued while the last group was being
synced is therefore committed together. The changes of tuning jobs in it are written with the same
few statements; when one of them is refused, and for all other writes, each has a savepoint of its
own, so that one which is refused leaves the others alone. Callers are answered after COMMIT has
returned, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Generic, Protocol, TypeVar

from tunesmith_server.domain.errors import Conflict, Overloaded, StoreUnavailable
from tunesmith_server.store import changes
from tunesmith_server.store.database import Database
from tunesmith_server.store.store import Commit

Result = TypeVar("Result")

#: A full queue is written in about this time on an ordinary disk.
RETRY_AFTER: Final = timedelta(seconds=1)

_TAKEN: Final = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)


class _Queued(Protocol):
    """Be a write in the queue, whatever it results in."""

    loop: asyncio.AbstractEventLoop

    def attempt(self, database: Database) -> None:
        """Carry it out and keep the result."""

    def fail(self, error: Exception) -> None:
        """Keep an error in place of the result."""

    def answer(self) -> None:
        """Hand the result to who waits for it; on the event loop."""


class _Write(Generic[Result]):
    """Hold a change, and who waits for its result."""

    def __init__(
        self, change: Callable[[Database], Result], future: asyncio.Future[Result]
    ) -> None:
        self.loop = future.get_loop()
        self._change = change
        self._future = future
        self._results: list[Result] = []
        self._error: Exception | None = None

    def attempt(self, database: Database) -> None:
        self._results = [self._change(database)]

    def fail(self, error: Exception) -> None:
        self._error = error

    def answer(self) -> None:
        if self._future.done():
            return  # the caller has gone; the write stands
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._results[0])


class _CommitWrite(_Write[None]):
    """Hold a change of a tuning job, which may be written together with others'."""

    def __init__(self, commit: Commit, future: asyncio.Future[None]) -> None:
        super().__init__(lambda database: changes.apply(database, [commit]), future)
        self.commit = commit

    def note_written(self) -> None:
        """Take note that it was written, together with others."""
        self._results = [None]


class Writer:
    """Carry out changes on a thread of its own, and make them durable in groups."""

    def __init__(self, database: Database, *, max_queued: int, group_limit: int) -> None:
        """Start the thread.

        Args:
            database: The connection that writes; nobody else may use it until ``close``.
            max_queued: How many writes may wait for the next group.
            group_limit: How many writes a group may have.
        """
        self._database = database
        self._max_queued = max_queued
        self._group_limit = group_limit
        self._queue: deque[_Queued] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)
        self._thread.start()

    async def apply(self, change: Callable[[Database], Result]) -> Result:
        """Queue a change and return its result once it is durable.

        A change whose caller is cancelled meanwhile is carried out all the same.

        Raises:
            Overloaded: Too many writes wait.
            StoreUnavailable: The change could not be made durable, or the store is closed.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._enqueue(_Write(change, future))
        return await future

    async def commit(self, commit: Commit) -> None:
        """Queue a change of a tuning job and return once it is durable, as ``apply`` does.

        Raises:
            Conflict: It is not on the version that it was decided on.
            Overloaded: Too many writes wait.
            StoreUnavailable: The change could not be made durable, or the store is closed.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._enqueue(_CommitWrite(commit, future))
        await future

    def _enqueue(self, write: _Queued) -> None:
        with self._wake:
            if self._closing:
                raise StoreUnavailable("The change was not made: the store is closed.")
            if len(self._queue) >= self._max_queued:
                raise Overloaded(
                    f"The change was not made: {len(self._queue)} others wait for the disk.",
                    retry_after=RETRY_AFTER,
                )
            self._queue.append(write)
        # Woken only after what else is ready on the loop has run: callers who were answered
        # together come back together, and would else be split into the first and the others.
        write.loop.call_soon(self._notify)

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def close(self) -> None:
        """Finish what is queued and end the thread. Idempotent."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _serve(self) -> None:
        while group := self._next_group():
            self._write(group)
            for loop in {write.loop for write in group}:
                # A loop that was closed has nobody left who waits.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_answer, [one for one in group if one.loop is loop])

    def _next_group(self) -> Sequence[_Queued]:
        """Wait for writes and take all that fit a group; none: the store is being closed."""
        with self._wake:
            self._wake.wait_for(lambda: self._queue or self._closing)
            count = min(len(self._queue), self._group_limit)
            return [self._queue.popleft() for _ in range(count)]

    def _write(self, group: Sequence[_Queued]) -> None:
        """Make a group durable, or none of it."""
        try:
            if self._database.in_transaction:
                self._database.control("ROLLBACK")  # that of the last group did not succeed
            self._database.control("BEGIN IMMEDIATE")
            for write in self._not_written_together(group):
                self._attempt(write)
            self._database.control("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            for write in group:
                # Also those that were refused: what they were refused for did not happen.
                write.fail(StoreUnavailable(f"The change was not made: {error}."))

    def _not_written_together(self, group: Sequence[_Queued]) -> Sequence[_Queued]:
        """Write the changes of different tuning jobs at once; give what is left to write.

        Raises:
            sqlite3.Error: The database or the disk fails, and with it the group.
        """
        together = [write for write in group if isinstance(write, _CommitWrite)]
        if len({write.commit.job.job_id for write in together}) < len(together):
            return group
        try:
            changes.apply(self._database, [write.commit for write in together])
        except Exception as error:
            if _fails_the_group(error):
                raise
            self._database.control("ROLLBACK")
            self._database.control("BEGIN IMMEDIATE")
            return group
        for write in together:
            write.note_written()
        return [write for write in group if not isinstance(write, _CommitWrite)]

    def _attempt(self, write: _Queued) -> None:
        """Carry out one write; what it is refused for stays its own affair.

        Raises:
            sqlite3.Error: The database or the disk fails, and with it the group.
        """
        self._database.control("SAVEPOINT one_write")
        try:
            write.attempt(self._database)
        except Exception as error:
            if _fails_the_group(error):
                raise
            self._database.control("ROLLBACK TO one_write")
            write.fail(_refusal(error))
        self._database.control("RELEASE one_write")

    def _roll_back(self) -> None:
        if self._database.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._database.control("ROLLBACK")


def _answer(group: Sequence[_Queued]) -> None:
    for write in group:
        write.answer()


def _fails_the_group(error: Exception) -> bool:
    """Tell a failing disk or database from a write that is refused or wrong in itself."""
    refused = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, refused)


def _refusal(error: Exception) -> Exception:
    """Say what a refused write is told: what is there already came first."""
    if isinstance(error, sqlite3.IntegrityError) and error.sqlite_errorcode in _TAKEN:
        conflict = Conflict(f"It was written before ({error}); read it again and decide anew.")
        conflict.__cause__ = error
        return conflict
    return error
