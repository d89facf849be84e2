"""Groups of writes in one transaction: few statements, and what a failing disk leaves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.server.store import samples
from tests.server.store.samples import changed, new_job
from tunesmith_server.domain.effects import Announce, Durable, SaveTrial
from tunesmith_server.store import reading
from tunesmith_server.store.database import Database, connect_writer, make_durable
from tunesmith_server.store.groups import write_group
from tunesmith_server.store.migrate import load_migrations, migrate
from tunesmith_server.store.packing import commit_rows, created, new_job_rows
from tunesmith_server.store.rows import from_time
from tunesmith_server.store.statements import load_statements
from tunesmith_server.store.store import StoredJob
from tunesmith_server.store.writes import Outcome, Write, body_length, frame, message_of


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "db"
    with closing(connect_writer(path)) as opened:
        migrate(opened, path, load_migrations())
        make_durable(opened, path)
        yield opened


@pytest.fixture
def database(connection: sqlite3.Connection) -> Database:
    return Database(connection, load_statements())


@contextmanager
def traced(connection: sqlite3.Connection) -> Iterator[list[str]]:
    """Note the statements that are run inside."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    yield statements
    connection.set_trace_callback(None)


def creating(name: str) -> Write:
    return Write("create_job", (tuple(new_job_rows(new_job(name))),))


def changing(stored: StoredJob, *durable: Durable) -> Write:
    return Write("commit", (tuple(commit_rows(changed(stored, *durable))),))


def deleting(job_id: int) -> Write:
    return Write("delete_job", (job_id, from_time(samples.NOW), None))


def create(database: Database, *names: str) -> list[StoredJob]:
    outcomes = write_group(database, [creating(name) for name in names])
    stored = []
    for name, outcome in zip(names, outcomes, strict=True):
        assert not outcome.refused_as
        assert isinstance(outcome.said, tuple)
        stored.append(created(new_job(name), outcome.said[0]))
    return stored


def test_commits_are_synced_to_disk(connection: sqlite3.Connection) -> None:
    full = 2
    for name, value in (("synchronous", full), ("journal_mode", "wal"), ("foreign_keys", 1)):
        (set_to,) = connection.execute(f"PRAGMA {name}").fetchone()
        assert set_to == value


def test_a_group_is_one_transaction(database: Database, connection: sqlite3.Connection) -> None:
    with traced(connection) as statements:
        create(database, "a", "b", "c")
    assert statements[0] == "BEGIN IMMEDIATE"
    assert statements[-1] == "COMMIT"
    assert statements.count("COMMIT") == 1


def test_changes_of_many_tuning_jobs_in_a_group_are_few_statements(
    database: Database, connection: sqlite3.Connection
) -> None:
    jobs = create(database, *(f"j-{number}" for number in range(64)))
    group = [
        changing(
            job,
            SaveTrial(trial=samples.new_trial(f"t-{number}"), is_new=True),
            samples.measured(f"t-{number}", 1, number / 7),
            Announce(message=samples.about(f"t-{number}"), trial_name=f"t-{number}"),
        )
        for number, job in enumerate(jobs)
    ]
    with traced(connection) as statements:
        outcomes = write_group(database, group)
    assert len(statements) < 12
    assert outcomes == [Outcome("", None)] * 64
    for number, job in enumerate(jobs):
        name = f"t-{number}"
        measured = reading.measurements(database, name)
        assert [value for _, _, value, _ in measured] == [number / 7]
        events = reading.events(
            database, job.job.job_id, after=0, limit=9, trial_name=None, kinds=frozenset()
        )
        assert samples.lines(events) == [name]
        assert reading.job_by_id(database, job.job.job_id).in_progress == 1


def test_a_thousand_values_of_one_commit_are_few_statements(
    database: Database, connection: sqlite3.Connection
) -> None:
    (job,) = create(database, "digits")
    effects = [
        effect
        for number in range(1, 1001)
        for effect in (
            samples.measured("t-001", number, 0.5),
            Announce(message=samples.about("x"), trial_name="t-001"),
        )
    ]
    new = SaveTrial(trial=samples.new_trial("t-001"), is_new=True)
    with traced(connection) as statements:
        assert write_group(database, [changing(job, new, *effects)]) == [Outcome("", None)]
    assert len(statements) < 16
    assert len(reading.measurements(database, "t-001")) == 1000


def test_a_full_disk_fails_its_group_and_is_recovered_from(
    database: Database, connection: sqlite3.Connection
) -> None:
    (kept,) = create(database, "kept")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    rows = new_job_rows(new_job("huge", tags={"blob": "x" * 1_000_000}))
    huge = Write("create_job", (tuple(rows),))
    for outcome in write_group(database, [deleting(kept.job.job_id), huge, deleting(0)]):
        assert outcome.refused_as == "StoreUnavailable"
        assert "full" in str(outcome.said)
    assert reading.job_by_name(database, "kept") == kept
    assert reading.job_by_name(database, "huge") is None
    assert write_group(database, [changing(kept)]) == [Outcome("", None)]  # what fits is written
    connection.execute("PRAGMA max_page_count = 1000000")
    assert not write_group(database, [huge])[0].refused_as
    assert reading.job_by_id(database, kept.job.job_id).job.version == 1


class FailingDatabase(Database):
    """Have a disk that fails at one commit."""

    fails = False

    def control(self, sql: str) -> None:
        if self.fails and sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        super().control(sql)


def test_a_failing_commit_fails_its_whole_group_and_is_recovered_from(
    connection: sqlite3.Connection,
) -> None:
    database = FailingDatabase(connection, load_statements())
    (first,) = create(database, "first")
    database.fails = True
    # The second one is refused, but by a state that is undone.
    for outcome in write_group(database, [creating("second"), creating("First")]):
        assert outcome.refused_as == "StoreUnavailable"
        assert "disk I/O error" in str(outcome.said)
    database.fails = False
    assert reading.job_by_name(database, "second") is None
    assert write_group(database, [changing(first)]) == [Outcome("", None)]
    create(database, "second")


def test_what_is_said_comes_through_the_pipe_as_it_was() -> None:
    message = [("commit", (1, -1.5e-300, float("inf"), None, "ü", b"\0", [(), {"a": 2**70}]))]
    written = frame(message)
    assert body_length(written[:4]) == len(written) - 4
    assert message_of(written[4:]) == message
