"""Servers for end-to-end tests; every process ends with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.e2e.calls import Calls
from tests.e2e.harness import Process, ServerProcess
from tests.e2e.jobs import QUADRATIC, write_script

ServerMaker = Callable[..., ServerProcess]

#: What one hostile test may make the server take.
HOSTILE_MEMORY_BYTES = 300 * 2**20

#: Trials that do not end by SIGTERM are killed soon; the lease outlasts any hiccup of the machine.
PATIENT = """
[runners]
stop_grace_s = 5
slots = 4
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tunesmith.toml"
    file.write_text(PATIENT, encoding="utf-8")
    return file


@pytest.fixture
def make_server(
    request: pytest.FixtureRequest, tmp_path: Path, config: Path
) -> Iterator[ServerMaker]:
    """Make servers with a data directory each; not started yet, killed at the end."""
    with ExitStack() as servers:
        made: list[ServerProcess] = []

        def make(
            name: str = "data",
            *,
            runner: bool = True,
            config: Path = config,
            arguments: Sequence[str] = (),
        ) -> ServerProcess:
            server = ServerProcess(
                tmp_path / name, runner=runner, config=config, arguments=arguments
            )
            servers.callback(server.close)
            made.append(server)
            return server

        yield make
        for server in made:
            # Shown where the test fails.
            log = server.log_text()[-8000:]
            request.node.add_report_section("teardown", server.log.name, log)


@pytest.fixture
def make_process(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Make other commands of ``tunesmith``; killed at the end."""
    with ExitStack() as processes:

        def make(*arguments: str, name: str) -> Process:
            process = Process(arguments, log=tmp_path / f"{name}.log")
            processes.callback(process.close)
            return process

        yield make


@pytest.fixture
def server(make_server: ServerMaker) -> ServerProcess:
    """Give a server that serves, with an embedded runner of four slots."""
    return make_server().start()


@pytest.fixture
def calls(server: ServerProcess) -> Iterator[Calls]:
    with Calls(server.address) as made:
        yield made


@pytest.fixture
def quadratic(tmp_path: Path) -> Path:
    """Give a script whose objective is least at x = 0.3."""
    return write_script(tmp_path, QUADRATIC)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give one server for a module's hostile tests; without a runner, so that nothing is run."""
    server = ServerProcess(tmp_path_factory.mktemp("hostile") / "data", runner=False)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def target_calls(target: ServerProcess) -> Iterator[Calls]:
    with Calls(target.address) as made:
        yield made


@pytest.fixture
def unharmed(target: ServerProcess) -> Iterator[None]:
    """See after a test that the same server still serves, in bounded memory, and broke nowhere."""
    pid, before = target.pid, _memory_bytes(target)
    yield
    assert target.is_running, target.log_text()[-4000:]
    assert target.pid == pid
    with Calls(target.address) as calls:
        assert calls.is_serving()
    assert _memory_bytes(target) - before < HOSTILE_MEMORY_BYTES
    assert "Traceback" not in target.log_text()


def _memory_bytes(server: ServerProcess) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)
