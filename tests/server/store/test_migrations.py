from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.store.samples import changed, existing, lines, new_job
from tunesmith_server.domain.states import SecondaryStatus, TuningJobStatus
from tunesmith_server.domain.trial import FailureKind
from tunesmith_server.store.migrate import APPLICATION_ID, Migration, load_migrations, migrate
from tunesmith_server.store.open_errors import ForeignDatabase, NewerDatabase
from tunesmith_server.store.sqlite import SqliteStore

_SAVED = Path(__file__).with_name("data")
_FIRST = Migration(version=1, sql="CREATE TABLE first (a INTEGER); INSERT INTO first VALUES (1);")
_SECOND = Migration(version=2, sql="ALTER TABLE first ADD COLUMN b INTEGER DEFAULT 2;")
_BROKEN = Migration(version=2, sql="DELETE FROM first; CREATE TABLE first (a INTEGER);")
_MEMORY = Path(":memory:")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


def version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def test_a_new_database_is_brought_to_the_newest_version(connection: sqlite3.Connection) -> None:
    migrate(connection, _MEMORY, [_FIRST, _SECOND])
    assert version(connection) == 2
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_only_missing_migrations_are_applied(connection: sqlite3.Connection) -> None:
    migrate(connection, _MEMORY, [_FIRST])
    migrate(connection, _MEMORY, [_FIRST, _SECOND])
    migrate(connection, _MEMORY, [_FIRST, _SECOND])
    assert connection.execute("SELECT * FROM first").fetchall() == [(1, 2)]


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    connection: sqlite3.Connection,
) -> None:
    migrate(connection, _MEMORY, [_FIRST])
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(connection, _MEMORY, [_FIRST, _BROKEN])
    assert version(connection) == 1
    assert connection.execute("SELECT * FROM first").fetchall() == [(1,)]
    migrate(connection, _MEMORY, [_FIRST, _SECOND])


async def test_a_database_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db"
    newest = len(load_migrations())
    store = await SqliteStore.open(path)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {newest + 1}")
    before = path.read_bytes()
    with pytest.raises(NewerDatabase, match="newer") as caught:
        await SqliteStore.open(path)
    assert (caught.value.version, caught.value.known) == (newest + 1, newest)
    assert path.read_bytes() == before


async def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase, match="another program"):
        await SqliteStore.open(path)
    assert path.read_bytes() == before


def test_every_version_has_its_saved_database() -> None:
    saved = {path.stem for path in _SAVED.glob("*.sqlite3")}
    assert saved == {f"version_{number}" for number in range(1, len(load_migrations()) + 1)}


@pytest.mark.parametrize("saved", sorted(path.name for path in _SAVED.glob("*.sqlite3")))
async def test_a_saved_database_is_opened_read_and_written(tmp_path: Path, saved: str) -> None:
    shutil.copy(_SAVED / saved, tmp_path / "db")
    store = await SqliteStore.open(tmp_path / "db")

    running = await existing(store, "running")
    assert (running.job.status, running.in_progress, running.seed) == ("InProgress", 1, 42)
    assert await store.tags(running.arn) == {"team": "vision"}
    (waiting,) = await store.open_trials(running.job.job_id)
    assert waiting.parameters == {"learning_rate": "0.1", "optimiser": "größer"}
    assert await store.tags(running.arn.split(":hyper")[0] + f":training-job/{waiting.name}")

    ended = await existing(store, "ended")
    assert ended.job.status is TuningJobStatus.COMPLETED
    assert ended.job.best is not None
    assert (ended.job.best.name, ended.job.best.objective_value) == ("ended-002-0123abcd", 0.25)
    assert ended.job.counters.non_retryable_error == 1
    nan, value = [value for _, _, value, _ in await store.measurements(ended.job.best.name)]
    assert math.isnan(nan)
    assert value == 0.25
    failed = await store.trial("ENDED-001-0123abcd")
    assert failed is not None
    assert failed.trial.secondary_status is SecondaryStatus.FAILED
    assert failed.trial.failure_kind is FailureKind.NON_RETRYABLE
    assert failed.trial.ended_at is not None
    assert failed.trial.ended_at.microsecond == 123456
    assert lines(await store.events(ended.job.job_id, after=0, limit=9)) == ["created", "done"]
    assert await store.find_request("request-2") == "commit/ended"

    assert await store.job("deleted") is None
    await store.create_job(new_job("deleted"))
    await store.commit(changed(running))
    await store.close()
