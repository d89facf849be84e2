"""What the SQLite store promises beyond the contract: groups, failing disks, locks, threads."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import uvloop

from tests.server.store import samples
from tests.server.store.samples import NOW, changed, existing, new_job
from tunesmith_server.domain.effects import SaveTrial
from tunesmith_server.domain.errors import (
    Conflict,
    Overloaded,
    ResourceNotFound,
    StoreUnavailable,
)
from tunesmith_server.store import reading, writer
from tunesmith_server.store.database import Database
from tunesmith_server.store.lock import _is_alive
from tunesmith_server.store.open_errors import StoreInUse, StoreOpenError
from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import StoredJob
from tunesmith_server.store.writer import _Process
from tunesmith_server.store.writes import frame

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


async def test_a_write_that_cannot_be_handed_over_is_refused_alone(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "db")
    async with asyncio.timeout(10):
        tasks = await queued(
            *(store.create_job(new_job(f"before-{n}")) for n in range(3)),
            store.delete_tags(cast("str", object()), []),
            store.delete_tags("arn:nobody", []),
        )
        *before, strange, refused = await asyncio.gather(*tasks, return_exceptions=True)
        after = await store.create_job(new_job("after"))
        await store.close()
    assert isinstance(strange, RuntimeError)
    assert "ValueError: unmarshallable object" in str(strange)
    assert isinstance(refused, ResourceNotFound)
    assert all(isinstance(job, StoredJob) for job in (*before, after))


async def test_writes_that_are_too_much_for_a_frame_are_parted(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def framed(message: list[object]) -> bytes:
        if len(message) > 2:
            raise OverflowError("int too big to convert")
        sizes.append(len(message))
        return frame(message)

    monkeypatch.setattr(writer, "frame", framed)
    jobs = [sqlite_store.create_job(new_job(f"j-{n}")) for n in range(7)]
    created = await asyncio.gather(*jobs)
    monkeypatch.undo()
    assert sum(sizes) == 7
    assert await sqlite_store.open_jobs() == tuple(created)


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


@pytest.mark.parametrize(
    "said", [b"text", frame([]), frame([("", None), ("", None)]), frame(0), b"\1\0\0\0?"]
)
async def test_a_writer_that_talks_nonsense_is_ended(
    sqlite_store: SqliteStore, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    os.kill(sqlite_store._writer.pid, signal.SIGSTOP)
    under = asyncio.create_task(sqlite_store.create_job(new_job("under way")))
    await under_way(sqlite_store)
    sqlite_store._writer._process.pipe_data_received(1, said)
    async with asyncio.timeout(10):
        await sqlite_store.lost.wait()
        with pytest.raises(StoreUnavailable, match="not known"):
            await under
    assert "talks nonsense" in caplog.text


async def test_a_writer_that_answers_unasked_is_ended(sqlite_store: SqliteStore) -> None:
    sqlite_store._writer._process.pipe_data_received(1, frame(""))
    async with asyncio.timeout(10):
        await sqlite_store.lost.wait()


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_what_ends_the_server_does_not_end_its_writer(
    sqlite_store: SqliteStore, number: int
) -> None:
    os.kill(sqlite_store._writer.pid, number)
    await sqlite_store.create_job(new_job("after"))
    assert not sqlite_store.lost.is_set()


async def test_a_writer_that_ends_as_soon_as_it_is_there_is_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_words = _Process.first_words

    async def end_after(process: _Process) -> object:
        words = await first_words(process)
        process.kill()
        await process.ended()
        return words

    monkeypatch.setattr(_Process, "first_words", end_after)
    with pytest.raises(StoreOpenError, match="ended at once"):
        await SqliteStore.open(tmp_path / "db")


async def test_an_opening_that_is_cancelled_leaves_no_writer_and_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_words, is_starting = _Process.first_words, asyncio.Event()

    async def noted(process: _Process) -> object:
        is_starting.set()
        return await first_words(process)

    monkeypatch.setattr(_Process, "first_words", noted)
    opening = asyncio.create_task(SqliteStore.open(tmp_path / "db"))
    await is_starting.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    store = await SqliteStore.open(tmp_path / "db")
    await store.close()


async def test_a_writer_that_cannot_be_started_is_an_error_of_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_COMMAND", (str(tmp_path / "no-such-program"),))
    with pytest.raises(StoreOpenError, match="no-such-program"):
        await SqliteStore.open(tmp_path / "db")


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


def test_a_server_whose_end_nobody_has_taken_note_of_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not _is_alive(process.pid)
    assert _is_alive(os.getpid())


async def test_a_lock_that_says_nothing_sensible_is_somebodys(tmp_path: Path) -> None:
    path = tmp_path / "db"
    held = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    for said in (b"", b"x\n", b"-1\n", b"\xff"):
        os.ftruncate(held, 0)
        os.pwrite(held, said, 0)
        with pytest.raises(StoreInUse, match="another server has it open"):
            await SqliteStore.open(path)
    os.close(held)
    store = await SqliteStore.open(path)
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


async def test_a_writer_that_is_told_to_end_has_nothing_to_complain_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    store = await SqliteStore.open(tmp_path / "db")
    await store.close()
    assert capfd.readouterr().err == ""


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
