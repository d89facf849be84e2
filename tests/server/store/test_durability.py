"""Whatever was acknowledged is there after a SIGKILL, and nothing is there in halves."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.store.samples import existing, lines
from tunesmith_server.store.sqlite import SqliteStore

_PROGRAM = Path(__file__).with_name("committing_process.py")


def commit_until_killed(path: Path, prefix: str, rng: random.Random) -> dict[str, int]:
    """Give the last acknowledged version of each tuning job."""
    command = [sys.executable, str(_PROGRAM), str(path), prefix]
    acknowledged: dict[str, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        left = rng.randint(1, 1500)
        for line in child.stdout:
            name, number = line.split()
            acknowledged[name] = int(number)
            left -= 1
            if left == 0:
                child.send_signal(signal.SIGKILL)  # what is still in the pipe is read too
        assert child.wait() == -signal.SIGKILL
    assert left <= 0
    return acknowledged


async def check(path: Path, acknowledged: dict[str, int]) -> None:
    store = await SqliteStore.open(path)
    for name, version in acknowledged.items():
        stored = await existing(store, name)
        # At most the one change that was under way is there beyond what was acknowledged.
        assert stored.job.version - version in (0, 1)
        written = [str(number) for number in range(1, stored.job.version + 1)]
        events = await store.events(stored.job.job_id, after=0, limit=10**6)
        assert lines(events) == written
        assert [
            one.suggestion.parameters["x"] for one in await store.outcomes(stored.job.job_id)
        ] == written
        assert stored.in_progress == stored.job.launched == stored.job.version
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


async def kill_again_and_again(path: Path, *, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged: dict[str, int] = {}
    for number in range(rounds):
        acknowledged |= commit_until_killed(path, f"r{number}", rng)
        await check(path, acknowledged)


async def test_acknowledged_commits_survive_sigkill(tmp_path: Path) -> None:
    await kill_again_and_again(tmp_path / "db", rounds=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_acknowledged_commits_survive_sigkill_a_hundred_times(tmp_path: Path) -> None:
    for part in range(10):
        await kill_again_and_again(tmp_path / f"db-{part}", rounds=10, seed=100 + part)
