"""What a runner does when its server goes away, repeats itself, changes its mind, or is slow."""

from __future__ import annotations

import asyncio
import math
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter, eventually, publish
from tests.clients.runner.fake_server import FakeServer
from tests.clients.runner.test_runner_trials import is_gone
from tunesmith.runner import RunnerBusy, RunnerLimits, RunnerSettings, run_runner
from tunesmith.v1 import runner_service_pb2 as pb

FOREVER = "import time\nprint('ready')\ntime.sleep(60)"
# Writes a line and a metric for each file that appears, so that a test sets the pace.
PACED = """
import pathlib, sys, time
gates = pathlib.Path(sys.argv[1])
for number in range(int(sys.argv[2])):
    while not (gates / str(number)).exists():
        time.sleep(0.01)
    print(f'value={number}')
"""


def paced(assignment: Assigner, gates: Path, count: int) -> pb.TrialAssignment:
    made = assignment(PACED, metrics={"value": r"value=(\d+)"})
    made.command.extend([str(gates), str(count)])
    return made


async def test_the_hello_says_who_the_runner_is_and_what_it_offers(
    server: FakeServer, runner: RunnerStarter
) -> None:
    async with runner(labels={"rack": "b"}):
        await server.connected()
    (hello,) = server.hellos
    assert hello.runner_name == "test runner"
    assert hello.slots == 2
    assert hello.cpu_count >= 1
    assert hello.memory_bytes > 0
    assert list(hello.gpus) == []
    assert dict(hello.labels) == {"rack": "b"}
    assert 1 <= len(hello.instance_id) <= 64
    assert list(hello.held_trials) == []


async def test_heartbeats_go_out_at_the_servers_pace(
    server: FakeServer, runner: RunnerStarter
) -> None:
    async with runner():
        await server.until(lambda: server.heartbeats >= 2)


async def test_nothing_is_lost_or_doubled_when_the_server_vanishes_and_returns_elsewhere(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    address_file: Path,
    tmp_path: Path,
) -> None:
    gates = tmp_path / "gates"
    gates.mkdir()
    async with runner():
        key = await server.assign(paced(assignment, gates, 6))
        for number in range(2):
            (gates / str(number)).touch()
        await server.line(key, "value=1")
        # Durable, but never acknowledged: the runner must learn of it from the welcome.
        server.acknowledges = False
        (gates / "2").touch()
        await server.line(key, "value=2")
        await server.vanish()
        log = tmp_path / "runner" / "trials" / key[0] / "1" / "output.log"
        for number in range(3, 5):
            (gates / str(number)).touch()
        await eventually(lambda: b"value=4" in log.read_bytes())
        server.acknowledges = True
        publish(await server.start(), address_file)
        await server.connected(times=2)
        (gates / "5").touch()
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED
    assert server.lines(key) == [f"value={n}" for n in range(6)]
    assert server.metrics(key) == [("value", float(n)) for n in range(6)]
    assert server.gaps == []
    held = server.hellos[1].held_trials
    assert [(h.training_job_name, h.lease_token) for h in held] == [key]
    assert server.hellos[0].instance_id == server.hellos[1].instance_id
    # The welcome's position was heeded: what was durable did not travel twice.
    assert len(server.deliveries) == len(set(server.deliveries))


async def test_an_end_that_happened_while_the_server_was_away_is_reported(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    address_file: Path,
    tmp_path: Path,
) -> None:
    gates = tmp_path / "gates"
    gates.mkdir()
    async with runner():
        key = await server.assign(paced(assignment, gates, 1))
        await server.stage(key, pb.TRIAL_STAGE_TRAINING)
        await server.vanish()
        (gates / "0").touch()
        archive = tmp_path / "artifacts" / key[0] / "output" / "model.tar.gz"
        await eventually(archive.exists)
        publish(await server.start(), address_file)
        assert (await server.ended(key)).outcome == pb.TRIAL_OUTCOME_COMPLETED


async def test_a_repeated_assignment_changes_nothing(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    made = assignment("print('once')")
    async with runner():
        key = await server.assign(made)
        await server.assign(made)
        await server.ended(key)
        await server.assign(made)
        # A later trial ends; the repeat, had it run, would have reported meanwhile.
        await server.ended(await server.assign(assignment(name="job-002")))
    assert server.lines(key) == ["once"]
    assert server.stages(key).count(pb.TRIAL_STAGE_STARTING) == 1


async def test_a_revoked_trial_is_killed_and_says_nothing_more(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, address_file: Path
) -> None:
    async with runner(slots=1):
        key = await server.assign(assignment(FOREVER))
        await server.line(key, "ready")
        reported = len(server.reports[key])
        await server.vanish()
        server.revoked.add(key)
        publish(await server.start(), address_file)
        await server.connected(times=2)
        # Its slot is free again, under a new lease.
        other = await server.assign(assignment("pass", name="job-002"))
        ended = await server.ended(other)
        assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED, ended.failure_reason
        again = await server.assign(assignment("print('again')", lease_token=2))
        ended = await server.ended(again)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED, ended.failure_reason
    assert len(server.reports[key]) == reported


async def test_a_new_lease_of_the_same_trial_replaces_the_old_one(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner(slots=1):
        old = await server.assign(assignment(FOREVER))
        await server.line(old, "ready")
        new = await server.assign(assignment("print('new')", lease_token=2))
        assert (await server.ended(new)).outcome == pb.TRIAL_OUTCOME_COMPLETED
        await server.assign(assignment(FOREVER, lease_token=1))
        await server.ended(await server.assign(assignment(name="job-002")))
    assert not any(report.HasField("ended") for report in server.reports[old])


async def test_a_draining_runner_gives_its_trials_back(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    async with runner():
        key = await server.assign(assignment(FOREVER))
        await server.line(key, "ready")
    # The runner has ended: everything it had to say was said, and heard, before.
    ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_RETURNED
    assert server.drainings == 1
    assert server.goodbyes == 1
    assert pb.TRIAL_STAGE_STOPPING not in server.stages(key)
    assert not (tmp_path / "artifacts").exists()


async def test_a_trial_assigned_to_a_draining_runner_comes_back(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    slow = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready')
time.sleep(60)
"""
    async with runner() as stop:
        holding = await server.assign(assignment(slow, stop_grace_s=0.5))
        await server.line(holding, "ready")
        stop.set()
        await server.until(lambda: server.drainings)
        late = await server.assign(assignment(FOREVER, name="job-002"))
        assert (await server.ended(late)).outcome == pb.TRIAL_OUTCOME_RETURNED
    assert server.stages(late) == []


async def test_a_stop_during_the_drain_is_a_stop(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print('told'))
print('ready')
while True:
    time.sleep(0.05)
"""
    async with runner() as stop:
        key = await server.assign(assignment(code, stop_grace_s=0.5))
        await server.line(key, "ready")
        stop.set()
        await server.line(key, "told")
        await server.stop_trial(key)
        assert (await server.ended(key)).outcome == pb.TRIAL_OUTCOME_STOPPED


async def test_a_cancelled_runner_kills_its_trials(
    server: FakeServer, settings: RunnerSettings, assignment: Assigner, address_file: Path
) -> None:
    publish(await server.start(), address_file)
    running = asyncio.create_task(run_runner(settings, stop=asyncio.Event()))
    key = await server.assign(assignment(f"import os\nprint(os.getpid())\n{FOREVER}"))
    await server.line(key, "ready")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert is_gone(int(server.lines(key)[0]))


async def test_a_runner_without_a_server_ends_when_told(
    settings: RunnerSettings, address_file: Path
) -> None:
    publish("127.0.0.1:1", address_file)
    stop = asyncio.Event()
    running = asyncio.create_task(run_runner(settings, stop=stop))
    stop.set()
    async with asyncio.timeout(10):
        await running


async def test_an_orphaned_runner_ends_by_itself(server: FakeServer, runner: RunnerStarter) -> None:
    async with runner(exit_when_orphaned_s=0.3):
        await server.connected()
        await server.vanish()
        # Leaving the context would stop it; the end must come before.
        tasks = [t for t in asyncio.all_tasks() if "run_runner" in repr(t.get_coro())]
        async with asyncio.timeout(5):
            await asyncio.wait(tasks)


async def test_an_orphaned_runner_waits_for_its_trials(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    address_file: Path,
    tmp_path: Path,
) -> None:
    gates = tmp_path / "gates"
    gates.mkdir()
    async with runner(exit_when_orphaned_s=0.1):
        key = await server.assign(paced(assignment, gates, 1))
        await server.stage(key, pb.TRIAL_STAGE_TRAINING)
        await server.vanish()
        await asyncio.sleep(0.5)  # several times the limit
        publish(await server.start(), address_file)
        await server.connected(times=2)
        (gates / "0").touch()
        assert (await server.ended(key)).outcome == pb.TRIAL_OUTCOME_COMPLETED


async def test_a_server_that_is_silent_is_left_for_another(
    server: FakeServer, settings: RunnerSettings, address_file: Path
) -> None:
    limits = RunnerLimits(welcome_s=0.2, backoff_max_s=0.1)
    stop = asyncio.Event()
    # The system takes the connection, and nobody ever reads from it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(f"127.0.0.1:{silent.getsockname()[1]}", address_file)
        running = asyncio.create_task(run_runner(replace(settings, limits=limits), stop=stop))
        await asyncio.sleep(0.1)
        publish(await server.start(), address_file)
        await server.connected()
    stop.set()
    await running


async def test_a_server_that_does_not_acknowledge_stops_the_reading_of_output(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    code = """
for number in range(60_000):
    print(f'line {number}')
"""
    limit = 50
    limits = RunnerLimits(unacknowledged_reports=limit, flush_lines=10)
    server.acknowledges = False
    async with runner(limits=limits):
        key = await server.assign(assignment(code))
        await server.until(lambda: len(server.reports[key]) >= limit)
        log = tmp_path / "runner" / "trials" / key[0] / "1" / "output.log"
        await asyncio.sleep(0.2)  # for what was read already
        size = log.stat().st_size
        await asyncio.sleep(0.3)  # time enough for all of it
        assert len(server.reports[key]) <= limit + 2
        assert log.stat().st_size == size
        assert size < 100_000
        server.acknowledges = True
        acknowledged = pb.ReportsAcknowledged(positions=[server._position(key)])
        await server.send(pb.ConnectResponse(acknowledged=acknowledged))
        await server.ended(key)
    assert server.lines(key) == [f"line {n}" for n in range(60_000)]


async def test_a_stopped_trial_ends_even_if_nothing_is_acknowledged(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    limits = RunnerLimits(unacknowledged_reports=20, flush_lines=10, farewell_s=0.1)
    server.acknowledges = False
    async with runner(limits=limits):
        key = await server.assign(assignment("while True: print('x')"))
        await server.until(lambda: len(server.reports[key]) >= 20)
        await server.stop_trial(key)
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_STOPPED


async def test_a_trial_that_ends_with_a_full_outbox_loses_nothing(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    limits = RunnerLimits(unacknowledged_reports=5, flush_lines=10, farewell_s=0.1)
    server.acknowledges = False
    async with runner(limits=limits):
        key = await server.assign(assignment("print('\\n'.join(map(str, range(1000))))"))
        assert (await server.ended(key)).outcome == pb.TRIAL_OUTCOME_COMPLETED
    assert server.lines(key) == [str(number) for number in range(1000)]


async def test_a_data_directory_takes_one_runner(
    server: FakeServer, runner: RunnerStarter, settings: RunnerSettings
) -> None:
    async with runner():
        await server.connected()
        with pytest.raises(RunnerBusy, match=r"uses .* give this one another data directory"):
            await run_runner(settings, stop=asyncio.Event())


async def test_nan_and_infinities_travel(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(
            assignment("print('v=nan'); print('v=-inf')", metrics={"v": "v=(.*)"})
        )
        await server.ended(key)
    (_, nan), (_, low) = server.metrics(key)
    assert math.isnan(nan)
    assert low == -math.inf
