"""A trial's process: in a session and group of its own, and bound to the runner's life.

One pipe carries standard output and standard error. The process dies with the runner, even if
that is killed (Linux); what it started dies with its group, as soon as the process itself has
ended. Start from the thread that runs the event loop: the kernel binds the process to the life
of the *thread* that made it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from tunesmith.runner.errors import FailureKind, TrialFailure

_SHIM: Final = Path(__file__).with_name("_exec.py")
_READ_BYTES: Final = 64 * 1024
_POLL_S: Final = 0.02


class TrialProcess:
    """One running, or ended, process of a trial.

    Attributes:
        output: What it and its children write.
        started_at: When its program began.
    """

    def __init__(self, *, popen: subprocess.Popen[bytes], pipe: Pipe, started_at: datetime) -> None:
        self.output = pipe.reader
        self.started_at = started_at
        self._popen = popen
        self._pipe = pipe
        self._ended = False

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and all of its group; nothing happens once it has ended."""
        # Until it is reaped, its number, and with it the group's, belongs to nobody else.
        if not self._ended:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)

    async def wait(self) -> int:
        """Wait until the process has ended, then kill what is left of its group.

        Returns:
            Its exit status; of a signal, the negative number.
        """
        await _exited(self._popen)
        return self._reap()

    def close(self) -> None:
        """Kill the group and reap the process, if it is still there, and close the pipe."""
        self._reap()
        self._pipe.close()

    def _reap(self) -> int:
        self.signal_group(signal.SIGKILL)
        self._ended = True
        return self._popen.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    """Read one end of a pipe."""

    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport

    @classmethod
    async def open(cls, descriptor: int) -> Self:
        """Take over a descriptor."""
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        return cls(reader=reader, transport=transport)

    def close(self) -> None:
        """Close it; what was not read is lost."""
        self.transport.close()


async def start_process(
    command: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    note: Callable[[int], None],
    limit_s: float,
    clock: Callable[[], datetime],
) -> TrialProcess:
    """Start a program; on return it runs.

    Args:
        command: The program, looked up on the ``PATH`` of the environment, and its arguments.
        directory: Its working directory.
        environment: All of its environment.
        note: Called with the process id before the program begins.
        limit_s: Until the program must run.
        clock: Tells the time.

    Raises:
        TrialFailure: There is no such program, or it cannot be run.
        TimeoutError: The program did not run in time.
        OSError: The runner could not make a process.
    """
    gate_read, gate_write = os.pipe()
    status_read, status_write = os.pipe()
    output_read, output_write = os.pipe()
    status, output = await Pipe.open(status_read), await Pipe.open(output_read)
    theirs = (gate_read, status_write, output_write)
    try:
        popen = _spawn(command, directory, environment, theirs)
    except BaseException:
        status.close()
        output.close()
        os.close(gate_write)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    process = TrialProcess(popen=popen, pipe=output, started_at=clock())
    try:
        note(popen.pid)
        os.write(gate_write, b"1")
        async with asyncio.timeout(limit_s):
            answer = await status.reader.read()
        _check_started(command[0], answer)
    except BaseException:
        process.close()
        raise
    finally:
        os.close(gate_write)
        status.close()
    process.started_at = clock()
    return process


def _spawn(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    theirs: tuple[int, int, int],
) -> subprocess.Popen[bytes]:
    gate, status, output = theirs
    shim = [sys.executable, "-I", "-S", str(_SHIM), str(gate), str(status), str(os.getpid())]
    return subprocess.Popen(  # noqa: S603 - running the users' programs is the purpose
        [*shim, *command],
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(gate, status),
        start_new_session=True,
    )


def _check_started(program: str, answer: bytes) -> None:
    """Read what the shim said: nothing when the program runs, else the error's number."""
    if not answer:
        return
    number = int(answer)
    error = OSError(number, os.strerror(number))
    if isinstance(error, FileNotFoundError):
        hint = "there is no such program on the runner's host, or on the trial's PATH"
    elif isinstance(error, PermissionError):
        hint = "it is not an executable file"
    else:
        hint = error.strerror or str(error)
    raise TrialFailure(FailureKind.CLIENT, f"cannot run {program!r}: {hint}")


async def _exited(popen: subprocess.Popen[bytes]) -> None:
    """Wait until a child has ended, without reaping it."""
    try:
        descriptor = os.pidfd_open(popen.pid)
    except (AttributeError, OSError):
        # Not Linux, or an old one. The poll reaps, and the group's number is signalled a moment
        # later; as long as the group has members, that number is not given away.
        while popen.poll() is None:  # noqa: ASYNC110 - there is nothing that would tell
            await asyncio.sleep(_POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
