"""Servers for end-to-end tests; every process ends with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.calls import Calls
from tests.e2e.harness import Process, ServerProcess

ServerMaker = Callable[..., ServerProcess]

#: Trials that do not end by SIGTERM are killed soon; the lease outlasts any hiccup of the machine.
PATIENT = """
[runners]
stop_grace_s = 5
slots = 4
"""

_NODE_REPORTS = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[_NODE_REPORTS] = report.failed
    return report


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

        def make(name: str = "data", *, runner: bool = True, config: Path = config) -> ServerProcess:
            server = ServerProcess(tmp_path / name, runner=runner, config=config)
            servers.callback(server.close)
            made.append(server)
            return server

        yield make
        if request.node.stash.get(_NODE_REPORTS, False):
            for server in made:
                print(f"--- {server.log}\n{server.log_text()[-8000:]}")


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
