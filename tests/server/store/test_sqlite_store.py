"""What the SQLite store promises beyond the contract: groups, failing disks, locks, threads."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from tests.server.store import samples
from tests.server.store.samples import NOW, changed, existing, new_job
from tunesmith_server.domain.effects import SaveTrial
from tunesmith_server.domain.errors import Conflict, Overloaded, StoreUnavailable
from tunesmith_server.store import reading
from tunesmith_server.store.database import Database
from tunesmith_server.store.open_errors import StoreInUse, StoreOpenError
from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import StoredJob

_SERVER = Path(__file__).with_name("opening_process.py")


@asynccontextmanager
async def busy(store: SqliteStore) -> AsyncIterator[None]:
    """Keep the writer at one write, which changes nothing: what is queued waits."""
    os.kill(store._writer.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(store.delete_job(0, deleted_at=NOW))
    await under_way(store)
    try:
        yield
    finally:
        os.kill(store._writer.pid, signal.SIGCONT)
        await waiting


async def under_way(store: SqliteStore) -> None:
    """Wait until all that is queued has been handed to the writer's process."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not store._writer._queue


async def queued(*calls: object) -> list[asyncio.Task[object]]:
    """Start calls and wait until all are in the queue, in order."""
    tasks = [asyncio.ensure_future(call) for call in calls]  # type: ignore[call-overload]
    await asyncio.sleep(0)
    return tasks


def files_of(path: Path) -> list[Path]:
    """List a database's files."""
    return sorted(path.parent.glob(f"{path.name}*"))


async def test_readers_cannot_write(sqlite_store: SqliteStore) -> None:
    with pytest.raises(StoreUnavailable, match="readonly"):
        await sqlite_store._readers.read(lambda db: db.control("DELETE FROM tags"))


async def test_what_is_queued_meanwhile_is_a_group_and_a_refused_write_stays_alone(
    sqlite_store: SqliteStore,
) -> None:
    first = await sqlite_store.create_job(new_job("first"))
    await sqlite_store.commit(changed(first))
    async with busy(sqlite_store):
        tasks = await queued(
            sqlite_store.create_job(new_job("good-1")),
            sqlite_store.commit(changed(first)),  # stale
            sqlite_store.create_job(new_job("bad", seed=-1)),  # breaks a constraint
            sqlite_store.create_job(new_job("worse", seed=2**70)),  # cannot even be bound
            sqlite_store.create_job(new_job("good-2")),
        )
    good_1, stale, bad, worse, good_2 = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(good_1, StoredJob)
    assert isinstance(good_2, StoredJob)
    assert isinstance(stale, Conflict)
    assert isinstance(bad, RuntimeError)
    assert "IntegrityError: CHECK" in str(bad)
    assert isinstance(worse, RuntimeError)
    assert "OverflowError" in str(worse)
    assert await sqlite_store.job("good-1") == good_1
    assert await sqlite_store.job("good-2") == good_2
    assert await sqlite_store.job("bad") is None


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


async def test_when_the_writers_process_is_gone_nothing_is_promised_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "db"
    store = await SqliteStore.open(path)
    kept = await store.create_job(new_job("kept"))
    async with asyncio.timeout(10):
        os.kill(store._writer.pid, signal.SIGSTOP)
        under = asyncio.create_task(store.create_job(new_job("under way")))
        await under_way(store)
        (waiting,) = await queued(store.create_job(new_job("waiting")))
        assert not store.lost.is_set()
        os.kill(store._writer.pid, signal.SIGKILL)
        await store.lost.wait()
        for task in (under, waiting):
            with pytest.raises(StoreUnavailable, match="not known"):
                await task
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.create_job(new_job("late"))
        assert await store.job("kept") == kept  # what is durable can still be read
        await store.close()
    assert "ended with status -9" in caplog.text
    store = await SqliteStore.open(path)
    assert await store.open_jobs() == (kept,)
    await store.close()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_is_seen_at_once_that_the_writers_process_is_gone(
    tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def lose() -> None:
        store = await SqliteStore.open(tmp_path / "db")
        os.kill(store._writer.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            await store.lost.wait()
            await store.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(lose())


async def test_a_store_that_was_closed_is_not_lost(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    await store.close()
    assert not store.lost.is_set()


async def test_the_lock_is_kept_until_a_killed_servers_writer_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "db"
    command = [sys.executable, str(_SERVER), str(path)]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    writer_pid = int(await server.stdout.readline())
    os.kill(writer_pid, signal.SIGSTOP)  # it is at its last change
    server.kill()
    await server.wait()
    opening = asyncio.create_task(SqliteStore.open(path))
    lock = os.open(f"{path}.lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)
    assert not opening.done()
    os.kill(writer_pid, signal.SIGCONT)
    store = await opening
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
    await store.close()  # as often as one likes
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
