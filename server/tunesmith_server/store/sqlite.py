"""The SQLite store: one file, one writer thread with group commit, a few reader threads.

``store.py`` says what it promises. What is written is in ``changes.py``, what is read in
``reading.py`` and ``listing.py``; this module only puts them on the right threads.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Self

from tunesmith.v1 import event_pb2
from tunesmith_server.domain.history import Outcome
from tunesmith_server.domain.trial import Trial
from tunesmith_server.store import changes, listing, reading
from tunesmith_server.store.database import (
    Database,
    connect_reader,
    connect_writer,
    make_durable,
)
from tunesmith_server.store.lock import DatabaseLock
from tunesmith_server.store.migrate import load_migrations, migrate
from tunesmith_server.store.open_errors import StoreOpenError
from tunesmith_server.store.readers import Readers
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

    def __init__(self, writer: Writer, readers: Readers, resources: ExitStack) -> None:
        """Take over the parts that ``open`` made.

        Args:
            writer: Carries out the writes.
            readers: Carry out the reads.
            resources: Closes both, then the connections, then frees the lock.
        """
        self._writer = writer
        self._readers = readers
        self._resources = resources
        self._closing = threading.Lock()

    @classmethod
    async def open(
        cls, path: Path, *, max_queued: int = 10_000, group_limit: int = 512, readers: int = 4
    ) -> Self:
        """Open a database, and create or migrate it as need be.

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
        with ExitStack() as resources:
            writing, reading_ = await asyncio.to_thread(_connect, path, resources, readers=readers)
            writer = Writer(writing, max_queued=max_queued, group_limit=group_limit)
            resources.callback(writer.close)
            pool = Readers(reading_)
            resources.callback(pool.close)
            return cls(writer, pool, resources.pop_all())

    async def close(self) -> None:
        """Finish the queued writes, then let go of everything. Idempotent."""

        def finish() -> None:
            with self._closing:
                self._resources.close()

        await asyncio.to_thread(finish)

    async def create_job(self, new: NewJob) -> StoredJob:
        """Write a new tuning job."""
        return await self._writer.apply(lambda db: changes.create_job(db, new))

    async def commit(self, commit: Commit) -> None:
        """Apply one change of a tuning job."""
        await self._writer.commit(commit)

    async def delete_job(
        self, job_id: int, *, deleted_at: datetime, request_id: str | None = None
    ) -> bool:
        """Hide a tuning job and free its name."""
        return await self._writer.apply(
            lambda db: changes.delete_job(db, job_id, deleted_at, request_id)
        )

    async def delete_trial(
        self, name: str, *, deleted_at: datetime, request_id: str | None = None
    ) -> bool:
        """Hide an ended training job."""
        return await self._writer.apply(
            lambda db: changes.delete_trial(db, name, deleted_at, request_id)
        )

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
        return await self._writer.apply(lambda db: changes.add_tags(db, arn, tags, limit))

    async def delete_tags(self, arn: str, keys: Sequence[str]) -> None:
        """Remove tags."""
        await self._writer.apply(lambda db: changes.delete_tags(db, arn, keys))


def _connect(
    path: Path, resources: ExitStack, *, readers: int
) -> tuple[Database, Sequence[Database]]:
    """Lock and migrate a database, and open one connection that writes and others that read."""
    statements = load_statements()
    try:
        lock = DatabaseLock(path)
        resources.callback(lock.release)
        # Made here, for its user alone; SQLite gives the files beside it the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = connect_writer(path)
        writing = Database(connection, statements)
        resources.callback(writing.close)
        migrate(connection, path, load_migrations())
        make_durable(connection, path)
        reading_ = []
        for _ in range(readers):
            reading_.append(Database(connect_reader(path), statements))
            resources.callback(reading_[-1].close)
    except (OSError, sqlite3.Error) as error:
        raise StoreOpenError(path, f"{error}.") from error
    return writing, reading_
