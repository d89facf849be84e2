"""How many Describe calls a second the AWS JSON front answers, beside gRPC's.

Eight callers at a time on connections of their own, to one server without runners. Beside what is
answered a second stands what a call costs the server's process in CPU time: callers and server share
the machine, and a caller of gRPC costs more than one that writes HTTP to a socket. The rounds of
the lines take turns, so that whatever else the machine does befalls all of them; each line has the
median of its rounds.

    python -m benchmarks.fronts [--calls N] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
import psutil
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.rpc import create_request
from benchmarks.shared.report import save
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith.v1 import tuning_service_pb2_grpc
from tunesmith_server.cli.embedded import EmbeddedServer, embedded_server

if TYPE_CHECKING:
    from tunesmith.v1.tuning_service_pb2_grpc import TuningServiceAsyncStub

CALLERS: Final = 8
NAME: Final = "described"
KEY_ID: Final = "AKIDBENCH"
SECRET: Final = "of-the/benchmark+alone"  # noqa: S105 - nothing is behind it

Round = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold one line of the table.

    Attributes:
        name: What was called, and how.
        calls_per_s: Calls answered a second, all callers together.
        cpu_s: CPU time of the server's process for one call.
        ratio: Calls for the same CPU time, over those of gRPC.
    """

    name: str
    calls_per_s: float
    cpu_s: float
    ratio: float


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=2000, help="in a round")
    parser.add_argument("--rounds", type=int, default=5, help="of each line")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/fronts.json"))
    arguments = parser.parse_args()
    lines = measure(arguments.calls, arguments.rounds)
    print(f"{'DescribeHyperParameterTuningJob':36}{'calls/s':>10}{'CPU ms':>10}{'x gRPC':>10}")
    for line in lines:
        print(
            f"{line.name:36}{line.calls_per_s:>10.0f}{line.cpu_s * 1e3:>10.2f}{line.ratio:>10.2f}"
        )
    save(arguments.json, grpc=grpc.__version__, lines=[asdict(line) for line in lines])


def measure(calls: int, rounds: int) -> list[Measured]:
    """Measure gRPC, then AWS JSON without and with signatures."""
    keys = f'[access_keys.{KEY_ID}]\nsecret_access_key = "{SECRET}"\n'
    with ExitStack() as servers:
        folder = Path(servers.enter_context(tempfile.TemporaryDirectory()))
        started = {
            name: servers.enter_context(
                embedded_server(
                    config=_config(folder / f"{name}.toml", text),
                    data_dir=folder / name,
                    may_move=False,
                )
            )
            for name, text in (("open", ""), ("keys", keys))
        }
        for server in started.values():
            _create(server, folder)
        return asyncio.run(_measure(started, calls=calls, rounds=rounds))


async def _measure(
    servers: Mapping[str, EmbeddedServer], *, calls: int, rounds: int
) -> list[Measured]:
    channel = grpc.aio.insecure_channel(servers["open"].address, [("grpc.enable_http_proxy", 0)])
    lines: list[tuple[str, EmbeddedServer, Round]] = [
        ("gRPC", servers["open"], lambda count: _grpc_round(channel, count)),
        (
            "AWS JSON",
            servers["open"],
            lambda count: _http_round(servers["open"].http, count, is_signed=False),
        ),
        (
            "AWS JSON, signed",
            servers["keys"],
            lambda count: _http_round(servers["keys"].http, count, is_signed=True),
        ),
    ]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in lines}
    for number in range(rounds + 1):
        for name, server, run in lines:
            taken = await _timed(_process_of(server), run, calls)
            if number:  # the first one is for connections and caches
                found[name].append(taken)
    await channel.close()
    medians = {
        name: [statistics.median(each) / calls for each in zip(*taken, strict=True)]
        for name, taken in found.items()
    }
    reference = medians["gRPC"][1]
    return [
        Measured(name=name, calls_per_s=1 / wall_s, cpu_s=cpu_s, ratio=reference / cpu_s)
        for name, (wall_s, cpu_s) in medians.items()
    ]


async def _timed(process: psutil.Process, run: Round, calls: int) -> tuple[float, float]:
    """Give what a round took: on the clock, and of the server's CPU time, both in seconds."""
    cpu, clock = sum(process.cpu_times()[:2]), time.perf_counter()
    await run(calls)
    return time.perf_counter() - clock, sum(process.cpu_times()[:2]) - cpu


async def _grpc_round(channel: grpc.aio.Channel, calls: int) -> None:
    stub: TuningServiceAsyncStub = tuning_service_pb2_grpc.TuningServiceStub(channel)  # type: ignore[assignment]
    request = pb.DescribeHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=NAME)

    async def caller() -> None:
        for _ in range(calls // CALLERS):
            await stub.DescribeHyperParameterTuningJob(request)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def _http_round(address: str, calls: int, *, is_signed: bool) -> None:
    host, _, port = address.rpartition(":")
    request = _request(address, is_signed=is_signed)

    async def caller() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(calls // CALLERS):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status, *headers = head.lower().split(b"\r\n")
            assert b" 200 " in status, head
            length = next(line for line in headers if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _request(address: str, *, is_signed: bool) -> bytes:
    """Write a Describe call; a signature holds for minutes, and so for a round."""
    body = json.dumps({"HyperParameterTuningJobName": NAME}).encode()
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "SageMaker.DescribeHyperParameterTuningJob",
    }
    request = AWSRequest("POST", f"http://{address}/", headers=headers, data=body)
    if is_signed:
        SigV4Auth(Credentials(KEY_ID, SECRET), "sagemaker", "us-east-1").add_auth(request)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Host: {address}", f"Content-Length: {len(body)}"]
    return "\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode() + body


def _process_of(server: EmbeddedServer) -> psutil.Process:
    """Find the server's process among the children of this one, by its data directory."""
    return next(
        process
        for process in psutil.Process(os.getpid()).children()
        if str(server.data_dir) in process.cmdline()
    )


def _config(file: Path, text: str) -> Path:
    file.write_text(f"[server]\nrunner = false\n\n{text}", encoding="utf-8")
    return file


def _create(server: EmbeddedServer, folder: Path) -> None:
    with grpc.insecure_channel(server.address, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = tuning_service_pb2_grpc.TuningServiceStub(channel)
        stub.CreateHyperParameterTuningJob(create_request(NAME, folder))


if __name__ == "__main__":
    main()
