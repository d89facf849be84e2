"""The embedded runner as a process: started, adopted, started again, stopped."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tunesmith.runner import RunnerSettings, S3Endpoint
from tunesmith_server.cli.runner import runner as runner_command
from tunesmith_server.cli.runner import s3_endpoints
from tunesmith_server.engine import embedded_runner as module
from tunesmith_server.engine.embedded_runner import (
    GRPC_FORK_SUPPORT,
    EmbeddedRunner,
    runner_environment,
)

pytestmark = pytest.mark.timeout(60)

_LIMIT_S = 30.0


def _runner(folder: Path) -> EmbeddedRunner:
    return EmbeddedRunner(
        data_dir=folder / "runner",
        address_file=folder / "server-address",
        slots=1,
        stop_grace_s=5.0,
        buckets={},
        s3={},
    )


@pytest.mark.parametrize("roots", [None, (), ("/srv/a", "/srv/b")])
def test_the_runner_is_told_the_roots_of_file_uris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roots: tuple[str, ...] | None
) -> None:
    told: list[RunnerSettings] = []
    monkeypatch.setattr(sys.modules["tunesmith_server.cli.runner"], "_run", told.append)
    command = replace(_runner(tmp_path), file_roots=roots)._command()
    assert command[3] == "runner"
    done = CliRunner().invoke(runner_command, command[4:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [each.file_roots for each in told] == [None if roots is None else (*map(Path, roots),)]


@asynccontextmanager
async def _running(runner: EmbeddedRunner) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(runner.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _holder(folder: Path, *, other_than: int | None = None) -> int:
    """Wait until a runner holds its directory, and has written who it is: that wakes nobody."""
    async with asyncio.timeout(_LIMIT_S):
        while (pid := _written(folder)) in (None, other_than):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)
    assert pid is not None
    return pid


def _written(folder: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((folder / "runner" / "lock").read_text(encoding="ascii"))
    return None


def _has_ended(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], _LIMIT_S)[0])
    finally:
        os.close(descriptor)


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a runner that is nobody's child, as one that outlived its server."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "tunesmith_server.cli", "runner"),
            *("--server-file", str(tmp_path / "server-address")),
            *("--data-dir", str(tmp_path / "runner"), "--slots", "1"),
        ]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_runner_is_told_how_to_reach_its_buckets(tmp_path: Path) -> None:
    reached = {
        "far": {"region": "eu-west-1", "profile": "lab"},
        "*": {"endpoint_url": "http://[::1]:9000"},
    }
    made = replace(_runner(tmp_path), buckets={"near": tmp_path / "a=b"}, s3=reached)
    program, *words = made._command()[3:]
    assert program == "runner"
    given = runner_command.make_context("runner", words).params
    assert given["buckets"] == (f"near={tmp_path / 'a=b'}",)
    assert s3_endpoints(given["s3_buckets"]) == {
        "far": S3Endpoint(region="eu-west-1", profile="lab"),
        "*": S3Endpoint(endpoint_url="http://[::1]:9000"),
    }


OWN = str(Path(sys.executable).parent)


@pytest.mark.parametrize(
    ("inherited", "path"),
    [
        pytest.param({"PATH": "/usr/bin:/bin"}, f"{OWN}:/usr/bin:/bin", id="by-its-path"),
        pytest.param({}, f"{OWN}:{os.defpath}", id="no-path"),
        pytest.param(
            {"PATH": "/lab/bin:/bin", "VIRTUAL_ENV": "/lab"}, "/lab/bin:/bin", id="activated"
        ),
        pytest.param(
            {"PATH": "/usr/bin", "VIRTUAL_ENV": "/lab"}, f"{OWN}:/usr/bin", id="left-over"
        ),
        pytest.param(
            {"PATH": "/c/envs/lab/bin", "CONDA_PREFIX": "/c/envs/lab", "CONDA_DEFAULT_ENV": "lab"},
            "/c/envs/lab/bin",
            id="conda",
        ),
        pytest.param(
            {"PATH": "/c/bin", "CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "base"},
            f"{OWN}:/c/bin",
            id="conda-base",
        ),
    ],
)
def test_python3_is_tunesmiths_own_unless_another_was_chosen(
    inherited: dict[str, str], path: str
) -> None:
    given = runner_environment({**inherited, "HOME": "/home/lab", GRPC_FORK_SUPPORT: "false"})
    assert given == {**inherited, "HOME": "/home/lab", "PATH": path}


async def test_a_runner_is_started_and_stopped(tmp_path: Path) -> None:
    runner = _runner(tmp_path)
    async with _running(runner):
        pid = await _holder(tmp_path)
        os.kill(pid, 0)
    assert _has_ended(pid)
    assert runner._holder() is None


async def test_a_runner_that_dies_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RESTART_PAUSE_S", 0.0)
    runner = _runner(tmp_path)
    async with _running(runner):
        first = await _holder(tmp_path)
        os.kill(first, signal.SIGKILL)
        second = await _holder(tmp_path, other_than=first)
    assert second != first
    assert _has_ended(second)


async def test_a_runner_that_is_there_already_is_adopted_and_replaced_at_its_end(
    tmp_path: Path, standalone: Callable[[], subprocess.Popen[bytes]]
) -> None:
    runner = _runner(tmp_path)
    (tmp_path / "runner").mkdir()
    process = standalone()
    assert await _holder(tmp_path) == process.pid
    async with _running(runner):
        for _ in range(10):
            await asyncio.sleep(0.02)
            assert runner._holder() == process.pid
        process.kill()
        own = await _holder(tmp_path, other_than=process.pid)
    assert _has_ended(own)


async def test_an_adopted_runner_is_stopped_with_the_server(
    tmp_path: Path, standalone: Callable[[], subprocess.Popen[bytes]]
) -> None:
    runner = _runner(tmp_path)
    (tmp_path / "runner").mkdir()
    process = standalone()
    await _holder(tmp_path)
    async with _running(runner):
        await asyncio.sleep(0)
    assert process.wait(_LIMIT_S) == 0


async def test_a_runner_that_has_hardly_started_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[asyncio.subprocess.Process] = []
    began = asyncio.Event()
    real = EmbeddedRunner._start

    async def noting(self: EmbeddedRunner) -> asyncio.subprocess.Process:
        started.append(await real(self))
        began.set()
        return started[-1]

    monkeypatch.setattr(EmbeddedRunner, "_start", noting)
    runner = _runner(tmp_path)
    async with _running(runner):
        async with asyncio.timeout(_LIMIT_S):
            await began.wait()
        await asyncio.sleep(0)
    assert started[0].returncode is not None


async def test_a_runner_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"

    async def start(_: EmbeddedRunner) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", f"{deaf}; time.sleep(600)"), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        started.append(process)
        began.set()
        return process

    started: list[asyncio.subprocess.Process] = []
    began = asyncio.Event()
    monkeypatch.setattr(EmbeddedRunner, "_start", start)
    runner = EmbeddedRunner(
        data_dir=tmp_path / "runner",
        address_file=tmp_path / "server-address",
        slots=1,
        stop_grace_s=-14.9,  # which leaves a tenth of a second of patience
        buckets={},
        s3={},
    )
    async with _running(runner):
        async with asyncio.timeout(_LIMIT_S):
            await began.wait()
        await asyncio.sleep(0)
    assert started[0].returncode == -signal.SIGKILL
