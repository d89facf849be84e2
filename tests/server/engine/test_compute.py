"""Worker processes: started, replaced, and never left behind."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil
import pytest

from tests.server.domain.job_specs import SPACE
from tests.server.engine.compute_parts import (
    COLD,
    END_S,
    QUICK,
    has_ended,
    program,
    running,
    worker_with,
)
from tests.server.engine.engine_parts import LIMIT_S
from tunesmith_server.engine import compute as compute_module
from tunesmith_server.engine.compute import Compute, Connection, WorkerLost
from tunesmith_server.engine.compute_messages import Answer, Ask, Begin, Message

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_module, "_RESTART_PAUSE_S", 0.01)


@pytest.fixture
async def compute() -> AsyncIterator[Compute]:
    async with running(Compute(command=QUICK)) as made:
        yield made


async def ask(connection: Connection, *, job_id: int = 1, count: int = 1) -> Answer:
    """Begin a tuning job and ask for its first configurations."""
    begin = Begin(job_id=job_id, spaces={None: SPACE}, seed=job_id, maximise=False, is_seeded=False)
    async with asyncio.timeout(LIMIT_S):
        return await connection.ask([begin], job_id=job_id, pending=[], count=count)


async def connected(compute: Compute, job_id: int = 1) -> Connection:
    async with asyncio.timeout(LIMIT_S):
        return await compute.worker_of(job_id).connection()


async def successor(compute: Compute, lost: Connection) -> Connection:
    """Wait for the process after one that died."""
    async with asyncio.timeout(LIMIT_S):
        await lost.lost.wait()
        return await compute.worker_of(1).connection()


async def test_a_worker_answers(compute: Compute) -> None:
    answer = await ask(await connected(compute), count=3)
    assert answer.fault == ""
    assert len(answer.suggestions) == 3


async def test_a_worker_hurries_while_others_wait_for_their_turn(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await connected(compute)
    said: list[Message] = []
    post = connection.post

    def noted(message: Message) -> None:
        said.append(message)
        post(message)

    monkeypatch.setattr(connection, "post", noted)

    async def take_a_turn(job_id: int) -> None:
        async with connection.turn():
            await ask(connection, job_id=job_id)

    await asyncio.gather(*(take_a_turn(job_id) for job_id in (1, 2, 3)))
    asks = [each for each in said if isinstance(each, Ask)]
    assert [(each.job_id, each.hurried) for each in asks] == [(1, False), (2, True), (3, False)]


def test_a_tuning_job_stays_on_its_worker_and_workers_share_them_evenly() -> None:
    compute = Compute(workers=3)
    of = [compute.worker_of(job_id) for job_id in range(1, 10)]
    assert of == of[:3] * 3
    assert len(set(of)) == 3
    assert of == [compute.worker_of(job_id) for job_id in range(1, 10)]


async def test_workers_after_the_first_one_are_started_when_they_are_needed() -> None:
    before = {child.pid for child in psutil.Process().children()}
    async with running(Compute(workers=2, command=QUICK)) as compute:
        first = await connected(compute, 1)
        assert {child.pid for child in psutil.Process().children()} - before == {first.pid}
        assert await compute.at_hand.connection() is first
        second = await connected(compute, 2)
        assert second.pid != first.pid
        assert (await ask(second, job_id=2)).suggestions


async def test_each_worker_has_one_thread_for_its_arrays(compute: Compute) -> None:
    connection = await connected(compute)
    await ask(connection)  # so that it is a worker by now, and no copy of this process
    environment = psutil.Process(connection.pid).environ()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        assert environment[name] == "1"
        assert os.environ.get(name) != "1", "the server's own environment is left alone"


async def test_a_worker_that_dies_is_replaced_and_says_so(
    compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    first = await connected(compute)
    before = await ask(first)
    os.kill(first.pid, signal.SIGKILL)
    second = await successor(compute, first)
    assert second.pid != first.pid
    assert (await ask(second)).suggestions == before.suggestions
    with pytest.raises(WorkerLost):
        await ask(first)
    assert "a compute worker ended with status -9; starting anew" in caplog.text


async def test_whoever_waits_for_a_worker_that_dies_is_told() -> None:
    async with running(Compute(command=COLD)) as compute:
        connection = await connected(compute)
        await ask(connection)
        assert not connection.is_warm
        waiting = asyncio.create_task(connection.warmed())
        await asyncio.sleep(0)
        os.kill(connection.pid, signal.SIGKILL)
        with pytest.raises(WorkerLost):
            await waiting
        assert not connection.is_warm


async def test_a_worker_that_dies_at_an_ask_is_lost_for_the_asker() -> None:
    dies = worker_with(
        "lambda: None", before="compute_worker.Searches.ask = lambda *_: os._exit(9)"
    )
    async with running(Compute(command=dies)) as compute:
        with pytest.raises(WorkerLost):
            await ask(await connected(compute))


async def test_a_worker_is_warm_once_it_says_so(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with running(
        Compute(command=worker_with(f"lambda: open({str(gate)!r}).close()"))
    ) as all_:
        connection = await connected(all_)
        await ask(connection)  # it is there, and answers
        assert not connection.is_warm
        await asyncio.to_thread(_open, gate)
        async with asyncio.timeout(LIMIT_S):
            await connection.warmed()
        assert connection.is_warm


def _open(gate: Path) -> None:
    with gate.open("w"):
        pass


async def test_kernels_that_do_not_compile_are_said_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(Compute(command=worker_with("lambda: 1 / 0"))) as compute:
        await (await connected(compute)).warmed()
    assert "a compute worker can't compile its kernels: ZeroDivisionError" in caplog.text


async def test_what_libraries_print_is_no_answer() -> None:
    chatty = worker_with(
        "lambda: print('compiling', flush=True)", before="print('hello', flush=True)"
    )
    async with running(Compute(command=chatty)) as compute:
        connection = await connected(compute)
        # "hello" came before the streams were taken over: that worker is replaced, and says it too.
        with pytest.raises(WorkerLost):
            await ask(connection)
    quiet = worker_with("lambda: print('compiling', flush=True)")
    async with running(Compute(command=quiet)) as compute:
        connection = await connected(compute)
        await connection.warmed()
        assert len((await ask(connection)).suggestions) == 1


async def test_an_ask_that_is_given_up_does_not_disturb_the_next(compute: Compute) -> None:
    connection = await connected(compute)
    given_up = asyncio.create_task(ask(connection, job_id=1, count=500))
    await asyncio.sleep(0)
    given_up.cancel()
    answer = await ask(connection, job_id=2)
    assert len(answer.suggestions) == 1
    assert given_up.cancelled()


async def test_a_worker_that_hangs_is_killed_and_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deaf = program("time.sleep(600)")
    async with running(Compute(command=deaf, patience_s=0.2)) as compute:
        for wait in (ask, Connection.warmed):
            connection = await connected(compute)
            with pytest.raises(WorkerLost):
                await wait(connection)
            assert (await successor(compute, connection)).pid != connection.pid
    assert "hung for 0.2 s" in caplog.text


@pytest.mark.parametrize("said", ["nonsense", '["Forget",{"job_id":1}]'])
async def test_a_worker_that_talks_nonsense_is_replaced(
    said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with running(Compute(command=program(f"print({said!r}); time.sleep(600)"))) as compute:
        connection = await connected(compute)
        assert (await successor(compute, connection)).pid != connection.pid
    assert "a compute worker failed" in caplog.text


async def test_a_program_that_is_not_there_does_not_end_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = asyncio.Event()

    def note(message: str) -> None:
        assert "starting anew" in message
        failed.set()

    monkeypatch.setattr(compute_module.logger, "exception", note)
    async with running(Compute(command=["/no/such/program"])), asyncio.timeout(LIMIT_S):
        for _ in range(3):
            await failed.wait()
            failed.clear()


@pytest.mark.parametrize(
    ("command", "limit_s"),
    [
        (QUICK, 0.9),
        # Deep in a computation that holds the interpreter now and then.
        (worker_with("lambda: sum(x for x in iter(int, 1))"), 0.9),
        # Does not care: killed after a second.
        (program("time.sleep(600)"), 3.0),
    ],
)
async def test_the_end_leaves_no_process_and_comes_soon(
    command: Sequence[str], limit_s: float
) -> None:
    compute = Compute(workers=2, command=command)
    async with running(compute):
        pids = [(await connected(compute, job_id)).pid for job_id in (1, 2)]
        if "compute_worker" in command[-1]:
            await ask(await connected(compute, 1))
            await ask(await connected(compute, 2))
        began = time.monotonic()
    assert time.monotonic() - began < limit_s
    assert len(set(pids)) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


SERVER = """
import asyncio, sys
from tunesmith_server.engine.compute import Compute

async def serve():
    compute = Compute(command=sys.argv[1:])
    running = asyncio.create_task(compute.run())
    connection = await compute.worker_of(1).connection()
    print(connection.pid, flush=True)
    await running

asyncio.run(serve())
"""


@pytest.mark.parametrize(
    "warm_up", ["threading.Event().wait", "lambda: sum(x for x in iter(int, 1))"]
)
def test_a_server_that_is_killed_takes_its_workers_along(warm_up: str) -> None:
    command = [sys.executable, "-c", SERVER, *worker_with(warm_up)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        worker = os.pidfd_open(int(server.stdout.readline()))
        server.kill()
        server.wait(END_S)
    assert has_ended(worker)
