"""Requests to an S3 that is away for a while, hangs, or refuses; and the pool that they share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter
from tests.clients.runner.fake_server import FakeServer
from tests.clients.runner.test_runner_network_buckets import channel
from tests.clients.runner.troubled_s3 import CONTENT, TroubledS3
from tunesmith.runner import RunnerLimits, S3Endpoint
from tunesmith.runner.s3_client import S3Connection, S3Failure, S3Patience, S3Trial
from tunesmith.runner.s3_pool import TransferPool
from tunesmith.runner.storage import Storage, storage_of_uri
from tunesmith.runner.threads import Wanted, WorkUnwanted
from tunesmith.v1 import runner_service_pb2 as pb

pytestmark = pytest.mark.usefixtures("s3_credentials")


def nothing(_: int) -> None:
    """Never object."""


@pytest.fixture
def troubled() -> Iterator[TroubledS3]:
    with TroubledS3().serving() as served:
        yield served


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.runner.s3_requests._PAUSE_MIN_S", 0.001)
    monkeypatch.setattr("tunesmith.runner.s3_requests._PAUSE_MAX_S", 0.01)
    monkeypatch.setattr("tunesmith.runner.s3_requests._POLL_S", 0.01)


@pytest.fixture
def connection(troubled: TroubledS3) -> Iterator[S3Connection]:
    endpoint = S3Endpoint(endpoint_url=troubled.url, region="r")
    with closing(S3Connection(endpoint)) as made:
        yield made


def at(connection: S3Connection, key: str = "data") -> Storage:
    return storage_of_uri(f"s3://lab/{key}", member="M", buckets={"lab": connection})


def store(connection: S3Connection, scratch: Path, check: Callable[[int], None] = nothing) -> None:
    at(connection).store_file("m", lambda _: None, scratch=scratch, check=check)


def test_what_fails_in_passing_is_tried_again_and_told_once(
    troubled: TroubledS3,
    connection: S3Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    own = connection.of_trial(S3Trial(tell=told.append))
    troubled.failures = 5
    monkeypatch.setattr("tunesmith.runner.s3_client._QUIET_S", 0.0)
    at(own).fetch_tree(tmp_path, check=nothing)
    assert (tmp_path / "a").read_bytes() == CONTENT
    # Of what comes and goes only the first time is told.
    monkeypatch.setattr("tunesmith.runner.s3_client._QUIET_S", 1000.0)
    for _ in range(2):
        troubled.failures = 5
        store(own, tmp_path)
    assert told == [
        *("[runner] S3 says SlowDown; trying again for 120 s", "[runner] S3 answers again"),
        *("[runner] S3 says SlowDown; trying again for 600 s", "[runner] S3 answers again"),
    ]


def test_patience_has_an_end_that_says_how_often_it_was_tried(
    troubled: TroubledS3, tmp_path: Path
) -> None:
    troubled.failures = 1000
    endpoint = S3Endpoint(endpoint_url=troubled.url, region="r")
    patience = S3Patience(reading_s=0.0, storing_s=0.5)
    with (
        closing(S3Connection(endpoint, patience=patience)) as impatient,
        pytest.raises(S3Failure, match=r"S3 says SlowDown; it was tried \d+ times in \d s"),
    ):
        store(impatient, tmp_path)
    assert 1 < troubled.asked["PUT"] < 1000


def test_a_stopped_trial_has_less_patience(
    troubled: TroubledS3,
    connection: S3Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tunesmith.runner.s3_client._STOPPED_PATIENCE_S", 0.0)
    troubled.failures = 1000
    own = connection.of_trial(S3Trial(is_stopped=lambda: troubled.asked["PUT"] > 2))
    with pytest.raises(S3Failure, match="S3 says SlowDown"):
        store(own, tmp_path)
    assert troubled.asked["PUT"] < 10


def test_an_outage_is_left_at_once_when_the_work_is_no_longer_wanted(
    troubled: TroubledS3, connection: S3Connection, tmp_path: Path
) -> None:
    troubled.failures = 1000
    wanted = Wanted()
    own = connection.of_trial(S3Trial(tell=lambda _: wanted.end(), check=lambda _: wanted.check()))
    works: tuple[Callable[[], None], ...] = (
        lambda: at(own).check_writable("M"),
        lambda: at(own).fetch_tree(tmp_path, check=lambda _: wanted.check()),
        lambda: store(own, tmp_path, lambda _: wanted.check()),
    )
    for work in works:
        with pytest.raises(WorkUnwanted):
            work()


def test_a_body_that_stops_in_its_middle_holds_nobody_up(
    troubled: TroubledS3, connection: S3Connection, tmp_path: Path
) -> None:
    troubled.hangs = True

    def check(_: int) -> None:
        if troubled.is_hanging.is_set():
            raise WorkUnwanted

    began = time.monotonic()
    with pytest.raises(WorkUnwanted):
        at(connection).fetch_tree(tmp_path, check=check)
    # The connection's own limit is 30 s.
    assert time.monotonic() - began < 10
    assert list(tmp_path.iterdir()) == []


async def test_a_trial_waits_for_an_s3_that_is_away_and_says_so(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, troubled: TroubledS3
) -> None:
    troubled.failures = 4
    code = "import os; print(open(os.environ['SM_CHANNEL_TRAIN'] + '/a').read())"
    trial = assignment(code, input_data_config=[channel("s3://lab/data")])
    reached = {"*": S3Endpoint(endpoint_url=troubled.url, region="r")}
    async with runner(buckets=reached, limits=RunnerLimits(reading_patience_s=50.0)):
        key = await server.assign(trial)
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED, ended.failure_reason
    assert server.lines(key) == [
        "[runner] S3 says SlowDown; trying again for 50 s",
        "[runner] S3 answers again",
        CONTENT.decode(),
    ]


@pytest.mark.parametrize("trouble", ["hangs", "away"])
async def test_a_stop_is_not_held_up_by_an_s3_in_trouble(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    troubled: TroubledS3,
    trouble: str,
) -> None:
    troubled.hangs = trouble == "hangs"
    troubled.failures = 10**6 if trouble == "away" else 0
    trial = assignment(input_data_config=[channel("s3://lab/data")])
    async with runner(buckets={"*": S3Endpoint(endpoint_url=troubled.url, region="r")}):
        key = await server.assign(trial)
        if trouble == "away":
            await server.line(key, "[runner] S3 says SlowDown; trying again for 120 s")
        else:
            assert await asyncio.to_thread(troubled.is_hanging.wait, 10)
        began = time.monotonic()
        await server.stop_trial(key)
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_STOPPED
    assert time.monotonic() - began < 10


class Holding:
    """Requests that run until they are let go."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.started: list[str] = []
        self.running = 0
        self.most = 0
        self.go = threading.Semaphore(0)
        self.changed = threading.Semaphore(0)

    def request(self, name: str) -> Callable[[], str]:
        def run() -> str:
            with self.lock:
                self.started.append(name)
                self.running += 1
                self.most = max(self.most, self.running)
            self.changed.release()
            assert self.go.acquire(timeout=10)
            with self.lock:
                self.running -= 1
            return name

        return run

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.changed.acquire(timeout=10)


def test_a_pool_runs_so_many_requests_and_takes_owners_in_turn() -> None:
    holding = Holding()
    with closing(TransferPool(2, of_one=2)) as pool:
        answers = [pool.submit("greedy", holding.request("greedy")) for _ in range(20)]
        holding.wait_for(2)
        answers += [pool.submit("modest", holding.request("modest")) for _ in range(3)]
        for _ in range(6):
            holding.go.release()
            holding.wait_for(1)
        assert holding.started[2:].count("modest") == 3
        for _ in range(30):
            holding.go.release()
        assert [each.result(10) for each in answers] == ["greedy"] * 20 + ["modest"] * 3
    assert holding.most == 2


def test_an_owner_whose_requests_hang_leaves_room_for_others() -> None:
    hanging, passing = Holding(), Holding()
    passing.go.release()
    with closing(TransferPool(3, of_one=2)) as pool:
        answers = [pool.submit("hung", hanging.request("hung")) for _ in range(10)]
        hanging.wait_for(2)
        assert pool.submit("other", passing.request("other")).result(10) == "other"
        assert hanging.started == ["hung"] * 2
        pool.close()
        for _ in range(10):
            hanging.go.release()
        assert [each.cancelled() for each in answers] == [False] * 2 + [True] * 8
        with pytest.raises(RuntimeError, match="was closed"):
            pool.submit("late", passing.request("late"))
