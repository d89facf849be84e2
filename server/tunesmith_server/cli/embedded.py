"""A server of ``tune``'s own: a child process for the duration of one command.

The child serves on a free port and ends when the pipe to its standard input closes, so that it
never outlives the command, however that ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import click

from tunesmith.errors import TunesmithError
from tunesmith_server.cli.outcome import GRPC_VERBOSITY, Refusal
from tunesmith_server.cli.serve import DATA_DIR_IN_USE

#: Where it listens, whatever the site configuration says: for this command alone.
LISTENS_AT: Final = "127.0.0.1:0"

_READY: Final = "ready "
_START_S: Final = 60.0
_STOP_S: Final = 30.0
_LOG_LINES: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServer:
    """Point to a running child.

    Attributes:
        address: Where it serves gRPC, ``HOST:PORT``.
        http: Where it serves AWS clients, ``HOST:PORT``.
        log: The file that its log goes to.
        data_dir: Where it keeps its data.
    """

    address: str
    http: str
    log: Path
    data_dir: Path


class _InUse(Exception):
    """Say that another server has the data directory."""


@contextmanager
def embedded_server(
    *, config: Path | None, data_dir: Path, may_move: bool
) -> Iterator[EmbeddedServer]:
    """Run a server as a child process within the block.

    Args:
        config: Its site configuration.
        data_dir: Where it keeps its data.
        may_move: Whether it keeps them in a temporary directory if another server has that one.

    Raises:
        Refusal: It does not start; the message has its last words.
    """
    folder = Path(tempfile.mkdtemp(prefix="tunesmith-"))
    log = folder / "server.log"
    kept = False
    try:
        try:
            process, served = _start(config=config, data_dir=data_dir, log=log)
        except _InUse as error:
            if not may_move:
                raise Refusal(f"the embedded server does not start: {error}") from None
            kept = True
            click.echo(
                f"{data_dir} is in use by another server; this job is kept in {folder}.", err=True
            )
            data_dir = folder
            process, served = _start(config=config, data_dir=data_dir, log=log)
        patience_s = _STOP_S
        try:
            yield EmbeddedServer(
                address=served["grpc"], http=served["http"], log=log, data_dir=data_dir
            )
        except TunesmithError:
            kept = True
            click.echo(f"The embedded server's log: {log}", err=True)
            raise
        except KeyboardInterrupt:
            # Whoever interrupts again wants to leave now: the child stops its trials, then ends.
            patience_s = 0.0
            raise
        finally:
            _stop(process, patience_s=patience_s)
    finally:
        if not kept:
            shutil.rmtree(folder)


def _start(
    *, config: Path | None, data_dir: Path, log: Path
) -> tuple[subprocess.Popen[str], dict[str, str]]:
    command = [sys.executable, "-m", "tunesmith_server.cli", "serve"]
    command += ["--grpc", LISTENS_AT, "--http", LISTENS_AT]
    command += ["--until-stdin-closes", "--data-dir", str(data_dir)]
    if config is not None:
        command += ["--config", str(config)]
    with log.open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 - this program itself
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(),
            # Ctrl-C is for this command to act on; it then stops the child.
            start_new_session=True,
        )
    try:
        return process, _served(process, log)
    except BaseException:
        _stop(process, patience_s=_STOP_S)
        raise


def _environment() -> dict[str, str]:
    """Give the child's environment, in which `python3` is this program's own Python.

    As in an activated virtual environment: a training script finds what is installed beside
    Tunesmith, whether or not its user has activated the environment.
    """
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    # What this command set for itself is not for trials.
    inherited = {key: value for key, value in os.environ.items() if key != GRPC_VERBOSITY}
    return {**inherited, "PATH": os.pathsep.join(path)}


def _served(process: subprocess.Popen[str], log: Path) -> dict[str, str]:
    """Wait until the child serves, and read where: ``grpc=HOST:PORT http=HOST:PORT``."""
    output = process.stdout
    if output is None:  # it is a pipe
        raise AssertionError
    # Ends the wait for the child's line when the child hangs.
    patience = threading.Timer(_START_S, process.kill)
    patience.start()
    try:
        line = output.readline()
    finally:
        patience.cancel()
    if line.startswith(_READY):
        threading.Thread(target=_drain, args=(output,), daemon=True).start()
        return dict(word.split("=", 1) for word in line.removeprefix(_READY).split())
    status = process.wait()
    last_words = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
    if status == DATA_DIR_IN_USE:
        raise _InUse(last_words)
    raise Refusal(f"the embedded server does not start (exit status {status}):\n{last_words}")


def _drain(output: IO[str]) -> None:
    for _ in output:
        pass


def _stop(process: subprocess.Popen[str], *, patience_s: float) -> None:
    """Ask the child to end, and insist after a while; without patience, only ask."""
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    if not patience_s:
        return
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
