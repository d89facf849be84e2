"""Real server processes on free loopback ports, and everything that they started, under control.

Not for tests that need no process of their own: those build the objects.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import grpc
import psutil

#: From starting a process until it says that it serves; generous, for a machine under load.
START_S: Final = 60.0
#: From a signal until a process has ended.
END_S: Final = 60.0

_CLI: Final = (sys.executable, "-m", "tunesmith_server.cli")


class Process:
    """One command of ``tunesmith`` in a process group of its own, its log in a file."""

    def __init__(
        self, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.arguments = tuple(arguments)
        self.environment = environment or {}
        self.log = log
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None, "not started"
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def spawn(self) -> None:
        assert not self.is_running, "started twice"
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*_CLI, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=os.environ | self.environment,
            )

    def first_line(self) -> str:
        """Wait for a whole line on standard output; empty when the process ended without one."""
        assert self._popen is not None
        assert self._popen.stdout is not None
        deadline = time.monotonic() + START_S
        line = b""
        descriptor = self._popen.stdout.fileno()
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"not ready within {START_S:g} s\n{self.log_text()}")
            chunk = os.read(descriptor, 1)
            if not chunk:
                break
            line += chunk
        return line.decode()

    def wait(self, timeout_s: float = END_S) -> int:
        assert self._popen is not None
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {timeout_s:g} s\n{self.log_text()}"
            ) from None

    def terminate(self) -> int:
        """Ask the process to end, and give its exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill the process itself, as ``kill -9`` does; what it started goes on."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        if self._popen is None:
            return
        if self.is_running:
            self.kill()
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


class ServerProcess(Process):
    """``tunesmith serve`` on a free port of its own."""

    def __init__(
        self,
        data_dir: Path,
        *,
        runner: bool = True,
        config: Path | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.address = ""
        self.http = ""
        words = [
            "serve",
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--data-dir",
            str(data_dir),
        ]
        if not runner:
            words.append("--no-runner")
        if config is not None:
            words += ["--config", str(config)]
        log = data_dir.with_name(f"{data_dir.name}.log")
        super().__init__([*words, *arguments], log=log, environment=environment)

    @property
    def database(self) -> Path:
        return self.data_dir / "tunesmith.db"

    def start(self) -> ServerProcess:
        """Start the server; on return it serves."""
        self.close_output()
        self.spawn()
        line = self.first_line()
        assert line.startswith("ready grpc="), f"{line!r}\n{self.log_text()}"
        addresses = dict(word.split("=", 1) for word in line.split()[1:])
        self.address, self.http = addresses["grpc"], addresses["http"]
        return self

    def close_output(self) -> None:
        if self._popen is not None and self._popen.stdout is not None:
            self._popen.stdout.close()

    def runner_pid(self) -> int | None:
        """Give the process of the embedded runner, once it holds its directory."""
        lock = self.data_dir / "runner" / "lock"
        with suppress(OSError, ValueError, psutil.Error):
            pid = int(lock.read_text(encoding="ascii"))
            if _names(psutil.Process(pid), self.data_dir):
                return pid
        return None

    def writer_pid(self) -> int:
        """Give the process that writes the database."""
        (pid,) = (
            child.pid
            for child in psutil.Process(self.pid).children()
            if "tunesmith_server.store.writer_process" in child.cmdline()
        )
        return pid

    def close(self) -> None:
        """Kill the server, its runner and its trials."""
        super().close()
        kill_all(processes_of(self.data_dir))


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """Find what runs on behalf of a data directory: runners by their arguments, trials by theirs.

    Both carry the directory, which is one test's own, where a stranger's process cannot have it.
    """
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if _names(process, data_dir) or _is_trial(process, data_dir):
                found.append(process)
    return found


def trial_processes(data_dir: Path) -> list[psutil.Process]:
    """Find the running trials, and what they started, of runners below a directory."""
    return [process for process in processes_of(data_dir) if _is_trial(process, data_dir)]


def _names(process: psutil.Process, data_dir: Path) -> bool:
    return any(word.startswith(str(data_dir)) for word in process.cmdline())


def _is_trial(process: psutil.Process, data_dir: Path) -> bool:
    with suppress(psutil.Error, OSError):
        return process.environ().get("SAGEMAKER_BASE_DIR", "").startswith(f"{data_dir}/")
    return False


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, and see that they have ended."""
    for process in processes:
        with suppress(ProcessLookupError, psutil.Error):
            descriptor = os.pidfd_open(process.pid)
            try:
                process.kill()
                _wait_for_end(descriptor)
            finally:
                os.close(descriptor)


def _wait_for_end(descriptor: int) -> None:
    """Wait until a process has ended; it need not be reaped, nor be a child."""
    ended, _, _ = select.select([descriptor], [], [], END_S)
    assert ended, f"outlived SIGKILL for {END_S:g} s"


def open_channel(address: str) -> grpc.Channel:
    """Open a channel that no proxy, shared connection or long back-off comes between."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", 64 * 1024 * 1024),
        ],
    )
