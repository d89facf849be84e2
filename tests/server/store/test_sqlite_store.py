"""What the SQLite store promises beyond the contract: groups, failing disks, locks, threads."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.server.store import samples
from tests.server.store.samples import NOW, changed, existing, new_job
from tunesmith_server.domain.effects import Announce, SaveTrial
from tunesmith_server.domain.errors import Conflict, Overloaded, StoreUnavailable
from tunesmith_server.store import reading
from tunesmith_server.store.database import Database
from tunesmith_server.store.open_errors import StoreInUse, StoreOpenError
from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import StoredJob


@asynccontextmanager
async def busy(store: SqliteStore) -> AsyncIterator[None]:
    """Keep the writer in a transaction with one uncommitted change: what is queued waits."""
    entered, leave = threading.Event(), threading.Event()

    def wait(database: Database) -> None:
        database.control("UPDATE tuning_jobs SET seed = 99")
        entered.set()
        assert leave.wait(10)

    waiting = asyncio.create_task(store._writer.apply(wait))
    assert await asyncio.to_thread(entered.wait, 10)
    try:
        yield
    finally:
        leave.set()
        await waiting


async def pragma(store: SqliteStore, name: str, value: int | None = None) -> object:
    """Ask or tell the writing connection a setting."""

    def ask(database: Database) -> object:
        setting = name if value is None else f"{name} = {value}"
        return database._connection.execute(f"PRAGMA {setting}").fetchone()[0]

    return await store._writer.apply(ask)


async def queued(*calls: object) -> list[asyncio.Task[object]]:
    """Start calls and wait until all are in the queue, in order."""
    tasks = [asyncio.ensure_future(call) for call in calls]  # type: ignore[call-overload]
    await asyncio.sleep(0)
    return tasks


def files_of(path: Path) -> list[Path]:
    """List a database's files."""
    return sorted(path.parent.glob(f"{path.name}*"))


async def test_commits_are_synced_to_disk(sqlite_store: SqliteStore) -> None:
    full = 2
    assert await pragma(sqlite_store, "synchronous") == full
    assert await pragma(sqlite_store, "journal_mode") == "wal"
    assert await pragma(sqlite_store, "foreign_keys") == 1


async def test_readers_cannot_write(sqlite_store: SqliteStore) -> None:
    with pytest.raises(StoreUnavailable, match="readonly"):
        await sqlite_store._readers.read(lambda db: db.control("DELETE FROM tags"))


async def test_what_is_queued_meanwhile_is_one_group_and_a_refused_write_stays_alone(
    sqlite_store: SqliteStore,
) -> None:
    first = await sqlite_store.create_job(new_job("first"))
    await sqlite_store.commit(changed(first))
    statements: list[str] = []
    connection = sqlite_store._writer._database._connection
    async with busy(sqlite_store):
        connection.set_trace_callback(statements.append)
        tasks = await queued(
            sqlite_store.create_job(new_job("good-1")),
            sqlite_store.commit(changed(first)),  # stale
            sqlite_store.create_job(new_job("bad", seed=-1)),  # breaks a constraint
            sqlite_store.create_job(new_job("worse", seed=2**70)),  # cannot even be bound
            sqlite_store.create_job(new_job("good-2")),
        )
    good_1, stale, bad, worse, good_2 = await asyncio.gather(*tasks, return_exceptions=True)
    connection.set_trace_callback(None)
    assert isinstance(good_1, StoredJob)
    assert isinstance(good_2, StoredJob)
    assert isinstance(stale, Conflict)
    assert isinstance(bad, sqlite3.IntegrityError)
    assert isinstance(worse, OverflowError)
    assert statements.count("COMMIT") == 2  # the busy one, then the group
    assert await sqlite_store.job("good-1") == good_1
    assert await sqlite_store.job("good-2") == good_2
    assert await sqlite_store.job("bad") is None


async def test_changes_of_many_tuning_jobs_in_a_group_are_few_statements(
    sqlite_store: SqliteStore,
) -> None:
    jobs = [await sqlite_store.create_job(new_job(f"j-{number}")) for number in range(64)]
    statements: list[str] = []
    connection = sqlite_store._writer._database._connection
    async with busy(sqlite_store):
        connection.set_trace_callback(statements.append)
        await queued(
            *(
                sqlite_store.commit(
                    changed(
                        job,
                        SaveTrial(trial=samples.new_trial(f"t-{number}"), is_new=True),
                        samples.measured(f"t-{number}", 1, number / 7),
                        Announce(message=samples.about(f"t-{number}"), trial_name=f"t-{number}"),
                    )
                )
                for number, job in enumerate(jobs)
            )
        )
    await sqlite_store.create_job(new_job("last"))  # after them
    connection.set_trace_callback(None)
    assert len(statements) < 20
    for number, job in enumerate(jobs):
        name = f"t-{number}"
        assert [value for _, _, value, _ in await sqlite_store.measurements(name)] == [number / 7]
        events = await sqlite_store.events(job.job.job_id, after=0, limit=9)
        assert samples.lines(events) == [name]
        assert (await existing(sqlite_store, f"j-{number}")).in_progress == 1


async def test_one_change_of_many_in_a_group_is_refused_alone(sqlite_store: SqliteStore) -> None:
    trial = samples.new_trial("t-1")
    stale = await samples.with_trials(sqlite_store, "stale", [trial])
    await sqlite_store.commit(changed(stale))
    good, twice, foreign, last = [
        await sqlite_store.create_job(new_job(name))
        for name in ("good", "twice", "foreign", "last")
    ]
    async with busy(sqlite_store):
        tasks = await queued(
            sqlite_store.commit(changed(good, request_id="key")),
            sqlite_store.commit(changed(stale)),
            sqlite_store.commit(changed(twice)),
            sqlite_store.commit(changed(twice)),
            sqlite_store.commit(changed(foreign, SaveTrial(trial=trial))),
            sqlite_store.commit(changed(last, request_id="key")),
        )
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [isinstance(result, Conflict) for result in results]
    assert refused == [False, True, False, True, True, True]
    versions = [(await existing(sqlite_store, name)).job.version for name in ("good", "twice")]
    assert versions == [1, 1]
    assert (await existing(sqlite_store, "last")).job.version == 0
    assert await sqlite_store.find_request("key") == "commit/good"


async def test_a_thousand_values_of_one_commit_are_few_statements(
    sqlite_store: SqliteStore,
) -> None:
    stored = await samples.with_trials(sqlite_store, "digits", [samples.new_trial("t-001")])
    statements: list[str] = []
    sqlite_store._writer._database._connection.set_trace_callback(statements.append)
    effects = [
        effect
        for number in range(1, 1001)
        for effect in (
            samples.measured("t-001", number, 0.5),
            Announce(message=samples.about("x"), trial_name="t-001"),
        )
    ]
    await sqlite_store.commit(changed(stored, *effects))
    assert len(statements) < 30
    assert len(await sqlite_store.measurements("t-001")) == 1000


async def test_a_group_has_a_limit(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db", group_limit=2)
    statements: list[str] = []
    async with busy(store):
        store._writer._database._connection.set_trace_callback(statements.append)
        tasks = await queued(*(store.create_job(new_job(f"j-{n}")) for n in range(5)))
    await asyncio.gather(*tasks)
    assert statements.count("COMMIT") == 1 + 3
    await store.close()


async def test_a_full_disk_fails_its_group_and_is_recovered_from(
    sqlite_store: SqliteStore,
) -> None:
    kept = await sqlite_store.create_job(new_job("kept"))
    pages = await pragma(sqlite_store, "page_count")
    assert isinstance(pages, int)
    await pragma(sqlite_store, "max_page_count", pages)
    huge = new_job("huge", tags={"blob": "x" * 1_000_000})
    async with busy(sqlite_store):
        tasks = await queued(
            sqlite_store.delete_job(kept.job.job_id, deleted_at=NOW),
            sqlite_store.create_job(huge),
            sqlite_store.delete_job(0, deleted_at=NOW),
        )
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(error, StoreUnavailable)
        assert "full" in str(error)
    assert (await existing(sqlite_store, "kept")).job == kept.job
    assert await sqlite_store.job("huge") is None
    await sqlite_store.commit(changed(kept))  # what fits is still written
    await pragma(sqlite_store, "max_page_count", 1_000_000)
    await sqlite_store.create_job(huge)
    assert (await existing(sqlite_store, "kept")).job.version == 1


async def test_a_failing_commit_fails_its_whole_group_and_is_recovered_from(
    sqlite_store: SqliteStore,
) -> None:
    def break_commit(database: Database) -> None:
        database.control("PRAGMA defer_foreign_keys = ON")
        database.control("INSERT INTO events (job_id, kind, payload) VALUES (12345, 4, x'')")

    first = await sqlite_store.create_job(new_job("first"))
    async with busy(sqlite_store):
        tasks = await queued(
            sqlite_store.create_job(new_job("second")),
            sqlite_store._writer.apply(break_commit),
            sqlite_store.create_job(new_job("First")),  # refused, but by a state that is undone
        )
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(error, StoreUnavailable)
        assert "FOREIGN KEY" in str(error)
    assert await sqlite_store.job("second") is None
    await sqlite_store.commit(changed(first))
    await sqlite_store.create_job(new_job("second"))


async def test_a_full_queue_sends_callers_away(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db", max_queued=2)
    async with busy(store):
        tasks = await queued(*(store.create_job(new_job(f"j-{n}")) for n in range(3)))
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoredJob, StoredJob, Overloaded]
    assert isinstance(answers[2], Overloaded)
    assert answers[2].retry_after.total_seconds() > 0
    await store.create_job(new_job("j-2"))
    await store.close()


async def test_reads_do_not_wait_for_a_write_under_way(sqlite_store: SqliteStore) -> None:
    stored = await sqlite_store.create_job(new_job("digits"))
    async with busy(sqlite_store), asyncio.timeout(5):
        reads = await asyncio.gather(*(sqlite_store.job("digits") for _ in range(20)))
        assert all(read == stored for read in reads)
    assert (await existing(sqlite_store, "digits")).seed == 99


async def test_a_read_of_several_rows_is_of_one_moment(sqlite_store: SqliteStore) -> None:
    stored = await sqlite_store.create_job(new_job("digits"))
    looked, go_on = threading.Event(), threading.Event()

    def look_twice(database: Database) -> tuple[StoredJob | None, StoredJob | None]:
        first = reading.job_by_name(database, "digits")
        looked.set()
        assert go_on.wait(10)
        return first, reading.job_by_name(database, "digits")

    look = asyncio.create_task(sqlite_store._readers.read(look_twice))
    assert await asyncio.to_thread(looked.wait, 10)
    await sqlite_store.commit(changed(stored))
    go_on.set()
    assert await look == (stored, stored)


async def test_a_callers_cancellation_leaves_the_others_alone(sqlite_store: SqliteStore) -> None:
    async with busy(sqlite_store):
        gone, stays = await queued(
            sqlite_store.create_job(new_job("gone")), sqlite_store.create_job(new_job("stays"))
        )
        gone.cancel()
    assert isinstance(await stays, StoredJob)
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_the_writer_outlives_an_event_loop_that_ends_before_the_answer(
    tmp_path: Path,
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait(_: Database) -> None:
        entered.set()
        assert leave.wait(10)

    async def abandon() -> SqliteStore:
        store = await SqliteStore.open(tmp_path / "db")
        await queued(store._writer.apply(wait))
        assert await asyncio.to_thread(entered.wait, 10)
        await queued(store.create_job(new_job("orphan")))
        return store

    store = await asyncio.to_thread(asyncio.run, abandon())
    (same_group,) = await queued(store.create_job(new_job("next")))
    leave.set()
    await same_group
    assert await store.job("orphan") is not None
    await store.close()


async def test_a_second_server_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    path = tmp_path / "db"
    first = await SqliteStore.open(path)
    with pytest.raises(StoreInUse, match=str(os.getpid())) as caught:
        await SqliteStore.open(path)
    assert (caught.value.path, caught.value.pid) == (path, os.getpid())
    await first.create_job(new_job("digits"))
    await first.close()
    second = await SqliteStore.open(path)
    assert await second.job("digits") is not None
    await second.close()


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "db"
    store = await SqliteStore.open(path)
    stored = await samples.with_trials(store, "digits", [samples.new_trial("digits-001")])
    await store.close()
    assert [file.name for file in files_of(path)] == ["db", "db.lock"]  # no log is left
    store = await SqliteStore.open(path)
    assert await store.open_jobs() == (stored,)
    await store.commit(
        changed(stored, SaveTrial(trial=samples.new_trial("digits-002", 2), is_new=True))
    )
    await store.close()


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreOpenError, match="missing"):
        await SqliteStore.open(tmp_path / "missing" / "db")


async def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%41ü"
    folder.mkdir()
    store = await SqliteStore.open(folder / "db")
    await store.create_job(new_job("digits"))
    await store.close()
    assert (folder / "db").exists()


async def test_a_failed_opening_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_bytes(b"not a database, and long enough to be told from an empty one" * 20)
    for _ in range(2):
        with pytest.raises(StoreOpenError, match="not an SQLite database"):
            await SqliteStore.open(path)
