"""What runner tests share: a fake server, settings for a runner, runners, and assignments."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clients.runner.fake_server import FakeServer
from tests.s3 import CREDENTIALS
from tunesmith.runner import RunnerLimits, RunnerSettings, run_runner
from tunesmith.runner.s3_client import S3Connection, S3Endpoint
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

#: Starts a runner for as long as the context lasts; setting the event stops it.
RunnerStarter = Callable[..., AbstractAsyncContextManager[asyncio.Event]]
Assigner = Callable[..., pb.TrialAssignment]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    fake = FakeServer()
    yield fake
    await fake.vanish()


@pytest.fixture
def address_file(tmp_path: Path) -> Path:
    return tmp_path / "server-address"


@pytest.fixture
def settings(tmp_path: Path, address_file: Path) -> RunnerSettings:
    return RunnerSettings(
        server=address_file,
        data_dir=tmp_path / "runner",
        name="test runner",
        slots=2,
        gpus=(),
        limits=RunnerLimits(disk_check_s=0.1, backoff_max_s=0.2),
    )


@pytest.fixture
async def runner(server: FakeServer, settings: RunnerSettings, address_file: Path) -> RunnerStarter:
    publish(await server.start(), address_file)

    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[asyncio.Event]:
        stop = asyncio.Event()
        running = asyncio.create_task(run_runner(replace(settings, **changes), stop=stop))
        try:
            yield stop
        finally:
            stop.set()
            async with asyncio.timeout(10):
                await running

    return start


@pytest.fixture
def assignment(tmp_path: Path) -> Assigner:
    def make(
        code: str = "",
        *,
        name: str = "job-001-0123abcd",
        lease_token: int = 1,
        command: list[str] | None = None,
        metrics: Mapping[str, str] | None = None,
        stop_grace_s: float = 5.0,
        max_runtime_s: float | None = None,
        **members: Any,
    ) -> pb.TrialAssignment:
        made = pb.TrialAssignment(
            training_job_name=name,
            lease_token=lease_token,
            training_job_arn=f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{name}",
            hyper_parameter_tuning_job_name="job",
            command=command if command is not None else [sys.executable, "-c", code],
            metric_definitions=[
                definition_pb.MetricDefinition(name=metric, regex=regex)
                for metric, regex in (metrics or {}).items()
            ],
            output_data_config=definition_pb.OutputDataConfig(
                s3_output_path=(tmp_path / "artifacts").as_uri()
            ),
            **members,
        )
        made.stop_grace.FromMilliseconds(int(stop_grace_s * 1000))
        if max_runtime_s is not None:
            made.max_runtime.FromMilliseconds(int(max_runtime_s * 1000))
        return made

    return make


def publish(address: str, address_file: Path) -> None:
    """Say where the server is, as a starting server does: whole or not at all."""
    unfinished = address_file.with_suffix(".unfinished")
    unfinished.write_text(address + "\n")
    unfinished.rename(address_file)


async def eventually(true: Callable[[], object], limit_s: float = 10.0) -> None:
    """Wait until something outside of this process makes a condition true."""
    async with asyncio.timeout(limit_s):
        while not true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _variables_of_an_outer_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SM_LEFTOVER", "of an outer trial")


@pytest.fixture(scope="session")
def s3_connection(s3_url: str) -> Iterator[S3Connection]:
    """Connect to the tests' own S3."""
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(S3Connection(S3Endpoint(endpoint_url=s3_url, region="us-east-1"))) as connection,
    ):
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        connection.client()
        patch.undo()
        yield connection
