"""The server's own runner: the same program as ``tunesmith runner``, as a child process.

A runner that outlived the server that started it is adopted: it holds its data directory's lock,
reads the server's address from the same file, and connects by itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

#: Environment variable by which gRPC's fork handlers are switched off in the server.
GRPC_FORK_SUPPORT: Final = "GRPC_ENABLE_FORK_SUPPORT"

#: An embedded runner that lost its server ends after this long, once no trial runs.
_ORPHAN_PATIENCE_S: Final = 300.0
_LOOK_AGAIN_S: Final = 0.1
_RESTART_PAUSE_S: Final = 1.0
#: A runner that ended sooner than this after its start is not started again at once.
_SETTLED_S: Final = 10.0


def runner_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Compose the embedded runner's environment, in which ``python3`` is Tunesmith's own Python.

    A training script then finds what is installed beside Tunesmith, though a server is often
    started by its path alone. Whoever has activated an environment has chosen a Python already,
    and keeps it.

    Args:
        inherited: The server's own environment.
    """
    # What the server set for itself is not for trials.
    kept = {key: value for key, value in inherited.items() if key != GRPC_FORK_SUPPORT}
    path = inherited.get("PATH", os.defpath)
    if _has_activated(inherited, path.split(os.pathsep)):
        return kept
    return {**kept, "PATH": os.pathsep.join((str(Path(sys.executable).parent), path))}


def _has_activated(inherited: Mapping[str, str], folders: Sequence[str]) -> bool:
    """Tell whether a virtual environment, or one of Conda's, was activated by somebody.

    Conda's "base" was not: it comes with every shell, and is nobody's choice.
    """
    roots = [inherited.get("VIRTUAL_ENV")]
    if inherited.get("CONDA_DEFAULT_ENV") != "base":
        roots.append(inherited.get("CONDA_PREFIX"))
    # A variable that was left over says nothing.
    return any(root and str(Path(root, "bin")) in folders for root in roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedRunner:
    """Keep a runner process going beside the server.

    Attributes:
        data_dir: The runner's own directory.
        address_file: File that holds the server's address.
        slots: Trials at a time; None: the runner decides.
        stop_grace_s: How long a trial may take to stop.
        buckets: Directories that stand for buckets, by name.
        file_roots: Directories below which ``file://`` URIs may lead; None: anywhere.
        s3: How others are reached over the network, by name; ``*`` for all others.
    """

    data_dir: Path
    address_file: Path
    slots: int | None
    stop_grace_s: float
    buckets: Mapping[str, Path]
    file_roots: Sequence[str] | None = None
    s3: Mapping[str, Mapping[str, str]]

    async def run(self) -> None:
        """Start the runner, and start it again whenever it ends, until cancelled; then stop it."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # programs' output is in it
        process: asyncio.subprocess.Process | None = None
        try:
            while True:
                if (holder := self._holder()) is not None:
                    logger.info("a runner (process %s) is there already; it is used", holder)
                await self._wait_for_lock()
                started_at = asyncio.get_running_loop().time()
                process = await self._start()
                status = await process.wait()
                logger.warning("the embedded runner ended with status %s; starting anew", status)
                if asyncio.get_running_loop().time() - started_at < _SETTLED_S:
                    await asyncio.sleep(_RESTART_PAUSE_S)
        except asyncio.CancelledError:
            await asyncio.shield(self._stop(process))
            raise

    def _command(self) -> list[str]:
        command = [
            *(sys.executable, "-m", "tunesmith_server.cli", "runner"),
            *("--server-file", str(self.address_file), "--data-dir", str(self.data_dir)),
            *("--exit-when-orphaned-s", str(_ORPHAN_PATIENCE_S)),
        ]
        if self.slots is not None:
            command += ["--slots", str(self.slots)]
        for name, directory in self.buckets.items():
            command += ["--bucket", f"{name}={directory}"]
        if self.file_roots is not None:
            each = [word for root in self.file_roots for word in ("--file-root", root)]
            command += each or ["--no-file-uris"]
        for name, members in self.s3.items():
            said = [f"{member}={value}" for member, value in members.items()]
            command += ["--s3", ",".join([name, *said])]
        return command

    async def _start(self) -> asyncio.subprocess.Process:
        # A session of its own: Ctrl-C in the server's terminal reaches the server alone, which
        # then stops the runner in good order.
        return await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr,
            start_new_session=True,
            env=runner_environment(os.environ),
        )

    async def _wait_for_lock(self) -> None:
        """Wait until no runner uses the directory: its end can be seen, not subscribed to."""
        while self._holder() is not None:  # noqa: ASYNC110 - a lock's release wakes nobody
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _holder(self) -> int | None:
        """Give the process that holds the runner's directory; 0 when it is not known."""
        descriptor = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.read(descriptor, 20).decode("ascii", errors="replace").strip()
            return int(written) if written.isdigit() else 0
        else:
            return None
        finally:
            os.close(descriptor)

    async def _stop(self, own: asyncio.subprocess.Process | None) -> None:
        """Ask the runner to give its trials back and end; insist after their grace.

        Args:
            own: The process that was started last; it may not have got to its lock yet.
        """
        for sent, patience_s in (
            (signal.SIGTERM, self.stop_grace_s + 15.0),
            (signal.SIGKILL, 5.0),
        ):
            child = own if own is not None and own.returncode is None else None
            told = child.pid if child is not None else self._holder()
            if not told:
                return
            try:
                os.kill(told, sent)
            except ProcessLookupError:
                return
            try:
                async with asyncio.timeout(patience_s):
                    if child is not None:
                        await child.wait()
                    await self._wait_for_lock()
            except TimeoutError:
                logger.warning("the embedded runner did not end within %g s", patience_s)
            else:
                return
