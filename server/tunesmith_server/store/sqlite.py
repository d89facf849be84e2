"""The SQLite store: one file, one process that writes in groups, a few threads that read.

``store.py`` says what it promises. What is written is in ``changes.py``, what is read in
``reading.py`` and ``listing.py``; this module only puts them where they belong.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self, cast

from tunesmith.v1 import event_pb2
from tunesmith_server.domain.history import Outcome
from tunesmith_server.domain.trial import Trial
from tunesmith_server.store import listing, reading
from tunesmith_server.store.database import (
    Database,
    connect_reader,
    connect_writer,
)
from tunesmith_server.store.lock import DatabaseLock
from tunesmith_server.store.migrate import load_migrations, migrate
from tunesmith_server.store.open_errors import StoreOpenError
from tunesmith_server.store.packing import commit_rows, created, new_job_rows
from tunesmith_server.store.readers import Readers
from tunesmith_server.store.rows import from_time
from tunesmith_server.store.statements import load_statements
from tunesmith_server.store.store import (
    Commit,
    Curve,
    JobQuery,
    NewJob,
    Page,
    StoredJob,
    StoredTrial,
    TrialQuery,
)
from tunesmith_server.store.writer import Writer


class SqliteStore:
    """Keep everything in one SQLite database; a :class:`~tunesmith_server.store.store.Store`."""

    def __init__(self, writer: Writer, readers: Readers, resources: AsyncExitStack) -> None:
        """Take over the parts that ``open`` made.

        Args:
            writer: Has writes carried out.
            readers: Carry out the reads.
            resources: Closes the readers, then the writer, then frees the lock.
        """
        self._writer = writer
        self._readers = readers
        self._resources = resources
        self._closing = asyncio.Lock()

    @classmethod
    async def open(
        cls, path: Path, *, max_queued: int = 10_000, group_limit: int = 512, readers: int = 4
    ) -> Self:
        """Open a database for the running event loop, and create or migrate it as need be.

        Args:
            path: The database file; its folder must exist.
            max_queued: How many writes may wait before callers are sent away, at least 1.
            group_limit: How many writes are committed together at most, at least 1.
            readers: How many reads are carried out at a time, at least 1.

        Raises:
            StoreInUse: Another server has it open.
            NewerDatabase: A newer release wrote it.
            ForeignDatabase: The file is not a database of ours.
            StoreOpenError: It cannot be opened for another reason.
        """
        async with AsyncExitStack() as resources:
            lock = await asyncio.to_thread(_locked, path)
            resources.callback(lock.release)
            # Open until others are: the last one to close writes the log back, which takes time.
            with await asyncio.to_thread(_migrated, path):
                with _opening(path):
                    writer = await Writer.start(
                        path, lock_fd=lock.fileno(), max_queued=max_queued, group_limit=group_limit
                    )
                resources.push_async_callback(writer.close)
                reading_ = await asyncio.to_thread(_open_readers, path, readers)
            for database in reading_:
                resources.callback(database.close)
            pool = Readers(reading_)
            resources.push_async_callback(asyncio.to_thread, pool.close)
            return cls(writer, pool, resources.pop_all())

    @property
    def lost(self) -> asyncio.Event:
        """Be set once nothing can be written any more, since the process that writes has ended.

        What became of the last changes is not known before the database is opened anew.
        """
        return self._writer.lost

    async def close(self) -> None:
        """Finish the queued writes, then let go of everything. Idempotent."""
        async with self._closing:
            await self._resources.aclose()

    async def create_job(self, new: NewJob) -> StoredJob:
        """Write a new tuning job."""
        job_id, is_new = cast(
            "tuple[int, bool]", await self._writer.apply("create_job", tuple(new_job_rows(new)))
        )
        if is_new:
            return created(new, job_id)
        return await self._readers.read(lambda db: reading.job_by_id(db, job_id))

    async def commit(self, commit: Commit) -> None:
        """Apply one change of a tuning job."""
        await self._writer.commit(commit_rows(commit))

    async def delete_job(
        self, job_id: int, *, deleted_at: datetime, request_id: str | None = None
    ) -> bool:
        """Hide a tuning job and free its name."""
        at = from_time(deleted_at)
        return bool(await self._writer.apply("delete_job", job_id, at, request_id))

    async def delete_trial(
        self, name: str, *, deleted_at: datetime, request_id: str | None = None
    ) -> bool:
        """Hide an ended training job."""
        at = from_time(deleted_at)
        return bool(await self._writer.apply("delete_trial", name, at, request_id))

    async def find_request(self, request_id: str) -> str | None:
        """Give what the call with this idempotency key did."""
        return await self._readers.read(lambda db: reading.find_request(db, request_id))

    async def job(self, name: str) -> StoredJob | None:
        """Read a tuning job by name."""
        return await self._readers.read(lambda db: reading.job_by_name(db, name))

    async def open_jobs(self) -> tuple[StoredJob, ...]:
        """Read every tuning job that has not ended, oldest first."""
        return await self._readers.read(reading.open_jobs)

    async def parents(self, job_id: int) -> tuple[StoredJob, ...]:
        """Read the tuning jobs that a tuning job starts with, in the order of its request."""
        return await self._readers.read(lambda db: reading.parents(db, job_id))

    async def open_trials(self, job_id: int) -> tuple[Trial, ...]:
        """Read a tuning job's training jobs that have not ended, in launch order."""
        return await self._readers.read(lambda db: reading.open_trials(db, job_id))

    async def outcomes(self, job_id: int, *, first_index: int = 1) -> tuple[Outcome, ...]:
        """Read what has become of a tuning job's training jobs so far, in launch order."""
        return await self._readers.read(lambda db: reading.outcomes(db, job_id, first_index))

    async def trial(self, name: str) -> StoredTrial | None:
        """Read a training job by name."""
        return await self._readers.read(lambda db: reading.trial_by_name(db, name))

    async def list_jobs(self, query: JobQuery) -> Page[StoredJob]:
        """Read a page of tuning jobs."""
        return await self._readers.read(lambda db: listing.list_jobs(db, query))

    async def list_trials(self, query: TrialQuery) -> Page[StoredTrial]:
        """Read a page of training jobs."""
        return await self._readers.read(lambda db: listing.list_trials(db, query))

    async def measurements(self, trial_name: str) -> tuple[tuple[str, int, float, datetime], ...]:
        """Read all values of a training job's metrics, in order."""
        return await self._readers.read(lambda db: reading.measurements(db, trial_name))

    async def curves(
        self, job_id: int, metric_name: str, *, indices: Collection[int] | None = None
    ) -> tuple[Curve, ...]:
        """Read what a tuning job's training jobs have measured of a metric, by their ends."""
        return await self._readers.read(lambda db: reading.curves(db, job_id, metric_name, indices))

    async def events(
        self,
        job_id: int,
        *,
        after: int,
        limit: int,
        trial_name: str | None = None,
        kinds: frozenset[event_pb2.WatchEventKind.ValueType] = frozenset(),
    ) -> tuple[event_pb2.WatchHyperParameterTuningJobResponse, ...]:
        """Read a tuning job's events above a sequence, numbered, in order."""
        return await self._readers.read(
            lambda db: reading.events(
                db, job_id, after=after, limit=limit, trial_name=trial_name, kinds=kinds
            )
        )

    async def tags(self, arn: str) -> Mapping[str, str] | None:
        """Read a resource's tags, by key in order."""
        return await self._readers.read(lambda db: reading.tags(db, arn))

    async def add_tags(self, arn: str, tags: Mapping[str, str], *, limit: int) -> Mapping[str, str]:
        """Add or overwrite tags and return all of them."""
        stored = await self._writer.apply("add_tags", arn, dict(tags), limit)
        return cast("Mapping[str, str]", stored)

    async def delete_tags(self, arn: str, keys: Sequence[str]) -> None:
        """Remove tags."""
        await self._writer.apply("delete_tags", arn, list(keys))


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Turn what goes wrong inside into an error of opening."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StoreOpenError(path, f"{error}.") from error


def _locked(path: Path) -> DatabaseLock:
    with _opening(path):
        return DatabaseLock(path)


def _migrated(path: Path) -> closing[sqlite3.Connection]:
    """Make a database if there is none, and bring it to this release's schema; gives it open."""
    with _opening(path), ExitStack() as resources:
        # Made here, for its user alone; SQLite gives the files beside it the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = resources.enter_context(closing(connect_writer(path)))
        migrate(connection, path, load_migrations())
        resources.pop_all()
    return closing(connection)


def _open_readers(path: Path, count: int) -> Sequence[Database]:
    statements = load_statements()
    with _opening(path):
        return [Database(connect_reader(path), statements) for _ in range(count)]
