"""The server as a process: how it starts, refuses to start, ends, and goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.e2e import jobs
from tests.e2e.calls import COMPLETED, Calls, Refused, trial_runs
from tests.e2e.conftest import ServerMaker
from tests.e2e.harness import Process, ServerProcess, processes_of
from tests.e2e.jobs import create_request, write_script
from tunesmith.v1 import training_job_pb2

pytestmark = pytest.mark.timeout(120)


def test_health_and_reflection_answer(make_server: ServerMaker) -> None:
    server = make_server(runner=False).start()
    with Calls(server.address) as calls:
        assert calls.is_serving()
        names = set(ProtoReflectionDescriptorDatabase(calls.channel).get_services())
    assert {
        "tunesmith.v1.TuningService",
        "tunesmith.v1.SuggestionService",
        "tunesmith.v1.RunnerService",
        health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    } <= names


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7070", "example.org:1"])
def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, address: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tunesmith_server.cli", "serve", "--no-runner"),
            *("--grpc", address, "--data-dir", str(tmp_path / "data")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "loopback" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


def test_a_second_server_on_a_data_directory_is_refused(make_server: ServerMaker) -> None:
    first = make_server(runner=False).start()
    second = ServerProcess(first.data_dir, runner=False)
    second.spawn()
    try:
        assert second.first_line() == ""
        assert second.wait() == 2
    finally:
        second.close_output()
    with Calls(first.address) as calls:
        assert calls.is_serving()
    assert str(first.data_dir) in second.log_text()
    assert str(first.pid) in second.log_text()


def test_a_port_in_use_is_refused_in_words(make_server: ServerMaker, tmp_path: Path) -> None:
    first = make_server(runner=False).start()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tunesmith_server.cli", "serve", "--no-runner"),
            *("--grpc", first.address, "--data-dir", str(tmp_path / "other")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"{first.address} can't be listened on" in done.stderr


def test_sigterm_gives_trials_back_and_a_restart_completes_the_job(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    gate, starts = tmp_path / "gate", tmp_path / "starts"
    server = make_server().start()
    with Calls(server.address) as calls:
        calls.create(
            create_request(
                *("pause",),
                script=write_script(tmp_path, jobs.GATED),
                output=tmp_path / "out",
                jobs=3,
                parallel=2,
                static={"gate": str(gate), "starts": str(starts)},
            )
        )
        calls.watch_until("pause", trial_runs)
        assert server.terminate() == 0
    assert processes_of(server.data_dir) == []

    gate.touch()
    server.start()
    with Calls(server.address) as calls:
        calls.watch_to_end("pause")
        described = calls.describe("pause")
        names = [s.training_job_name for s in calls.training_jobs("pause")]
        stories = [
            [step.status for step in calls.training_job(name).secondary_status_transitions]
            for name in names
        ]
    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.training_job_status_counters.completed == 3
    interrupted = [
        story for story in stories if training_job_pb2.SECONDARY_STATUS_INTERRUPTED in story
    ]
    assert len(interrupted) >= 1
    started = starts.read_text(encoding="utf-8").split()
    assert set(started) == set(names)


def test_sigterm_right_after_the_start_leaves_no_process(make_server: ServerMaker) -> None:
    server = make_server().start()
    assert server.terminate() == 0
    assert processes_of(server.data_dir) == []


def test_sigterm_ends_watches_and_idle_connections(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    server = make_server(runner=False).start()
    with Calls(server.address) as calls:
        script = write_script(tmp_path, jobs.QUADRATIC)
        calls.create(create_request("idle", script=script, output=tmp_path / "out"))
        events = calls.watch("idle")
        next(events)
        assert server.terminate() == 0
        with pytest.raises(Refused) as ended:
            list(events)
    assert ended.value.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_an_embedded_runner_that_outlived_its_server_is_adopted(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    gate, starts = tmp_path / "gate", tmp_path / "starts"
    server = make_server().start()
    with Calls(server.address) as calls:
        calls.create(
            create_request(
                *("adopt",),
                script=write_script(tmp_path, jobs.GATED),
                output=tmp_path / "out",
                jobs=2,
                static={"gate": str(gate), "starts": str(starts)},
            )
        )
        calls.watch_until("adopt", trial_runs)
    runner = server.runner_pid()
    server.kill()
    server.start()
    with Calls(server.address) as calls:
        assert server.runner_pid() == runner
        gate.touch()
        calls.watch_to_end("adopt")
        assert calls.describe("adopt").training_job_status_counters.completed == 2
    assert len(starts.read_text(encoding="utf-8").split()) == 2
    assert server.terminate() == 0
    assert processes_of(server.data_dir) == []


def test_a_standalone_runner_serves_a_server_without_one(
    make_server: ServerMaker, make_process: Callable[..., Process], tmp_path: Path
) -> None:
    server = make_server(runner=False).start()
    runner = make_process(
        *("runner", "--server", server.address, "--slots", "2", "--gpus", "none"),
        *("--data-dir", str(tmp_path / "runner"), "--name", "bench"),
        name="runner",
    )
    with Calls(server.address) as calls:
        script = write_script(tmp_path, jobs.QUADRATIC)
        calls.create(create_request("alone", script=script, output=tmp_path / "out", jobs=3))
        runner.spawn()
        calls.watch_to_end("alone")
        assert calls.describe("alone").training_job_status_counters.completed == 3
    server.kill()
    server.close()
    runner_ended_by = runner.terminate()
    assert runner_ended_by == 0


def test_trials_of_a_runner_that_stays_away_fail_when_its_lease_is_over(
    make_server: ServerMaker, make_process: Callable[..., Process], tmp_path: Path
) -> None:
    config = tmp_path / "short.toml"
    config.write_text("[runners]\nlease_s = 1\nheartbeat_s = 0.5\n", encoding="utf-8")
    server = make_server(runner=False, config=config).start()
    runner = make_process(
        *("runner", "--server", server.address, "--slots", "1", "--gpus", "none"),
        *("--data-dir", str(tmp_path / "runner"), "--name", "leaver"),
        name="runner",
    )
    with Calls(server.address) as calls:
        script = write_script(tmp_path, jobs.ENDLESS)
        calls.create(create_request("lease", script=script, output=tmp_path / "out", jobs=1))
        runner.spawn()
        seen = calls.watch_until("lease", trial_runs)
        runner.kill()
        calls.watch_to_end("lease", after=seen[-1].sequence)
        described = calls.describe("lease")
        (summary,) = calls.training_jobs("lease")
    assert described.training_job_status_counters.retryable_error == 1
    assert summary.failure_reason == (
        "InternalServerError: the runner leaver has been away for more than 1 s"
    )


def test_ctrl_c_ends_the_server_cleanly(make_server: ServerMaker) -> None:
    server = make_server().start()
    os.kill(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert processes_of(server.data_dir) == []
