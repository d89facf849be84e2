"""Connections that speak no gRPC, say nothing, or vanish: the server goes on."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path
from typing import Final

import grpc.aio
import psutil
import pytest

from tests.e2e import jobs
from tests.e2e.calls import CALL_S, Calls
from tests.e2e.harness import Process, ServerProcess
from tests.e2e.jobs import create_request, write_script
from tunesmith.v1 import event_pb2, tuning_service_pb2_grpc

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("unharmed")]

_GARBAGE: Final[dict[str, bytes]] = {
    "http1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "post": b"POST /tunesmith.v1.TuningService/Describe HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    "random": random.Random(1).randbytes(100_000),
    "zeros": bytes(1_000_000),
    "half a preface": b"PRI * HTTP/2.0\r\n\r\n",
    "preface and noise": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random.Random(2).randbytes(10_000),
    "tls": bytes.fromhex("16030100c8010000c40303") + random.Random(3).randbytes(189),
}


@pytest.mark.parametrize("kind", _GARBAGE)
def test_garbage_on_the_port_harms_nobody(target: ServerProcess, kind: str) -> None:
    host, _, port = target.address.rpartition(":")
    for _ in range(20):
        with (
            socket.create_connection((host, int(port)), timeout=10) as connection,
            contextlib.suppress(ConnectionError),
        ):
            connection.sendall(_GARBAGE[kind])


def test_silent_connections_that_vanish_leave_nothing(target: ServerProcess) -> None:
    host, _, port = target.address.rpartition(":")
    process = psutil.Process(target.pid)
    before = process.num_fds()
    connections = [socket.create_connection((host, int(port)), timeout=10) for _ in range(300)]
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + CALL_S
    with Calls(target.address) as calls:
        while process.num_fds() > before + 20:
            assert time.monotonic() < deadline, f"{process.num_fds()} open, {before} at first"
            assert calls.is_serving()


async def test_a_thousand_watchers_come_and_vanish(target: ServerProcess) -> None:
    with Calls(target.address) as calls:
        calls.create(create_request("watched", script=Path("/x"), output=Path("/tmp/out")))  # noqa: S108 - never opened
    request = event_pb2.WatchHyperParameterTuningJobRequest(
        hyper_parameter_tuning_job_name="watched"
    )
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    for _ in range(2):
        channels = [grpc.aio.insecure_channel(target.address, options=options) for _ in range(10)]
        stubs = [tuning_service_pb2_grpc.TuningServiceStub(channel) for channel in channels]
        watches = [
            stub.WatchHyperParameterTuningJob(request, timeout=60)
            for stub in stubs
            for _ in range(100)
        ]
        for watch in watches:
            first = await watch.read()  # type: ignore[attr-defined]
            assert first.sequence > 0
        for channel in channels:
            await channel.close(grace=None)
    with Calls(target.address) as calls:
        calls.stop("watched")
        assert calls.watch_to_end("watched")


def test_a_job_still_runs(target: ServerProcess, tmp_path: Path, target_calls: Calls) -> None:
    runner = Process(
        [
            *("runner", "--server", target.address, "--slots", "2", "--gpus", "none"),
            *("--data-dir", str(tmp_path / "runner")),
        ],
        log=tmp_path / "runner.log",
    )
    try:
        runner.spawn()
        script = write_script(tmp_path, jobs.QUADRATIC)
        target_calls.create(create_request("after", script=script, output=tmp_path / "out", jobs=3))
        target_calls.watch_to_end("after")
        assert target_calls.describe("after").training_job_status_counters.completed == 3
    finally:
        runner.close()


def test_callers_that_leave_at_once_do_not_disturb_others(target: ServerProcess) -> None:
    request = create_request("left", script=Path("/x"), output=Path("/tmp/out"))  # noqa: S108 - never opened
    for _ in range(10):
        with Calls(target.address) as leaving:
            for _ in range(20):
                leaving.stub.CreateHyperParameterTuningJob.future(request).cancel()
