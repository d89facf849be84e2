"""The server's side of the one process that writes, with group commit.

Syncing the disk is what a commit costs. Everything that was queued while the last group was being
synced is therefore written together (``groups.py``). Callers are answered after COMMIT has returned,
not before.

It is a process of its own, since Python's lock changes hands at each statement: a thread waits longer
for it than it writes, and the event loop waits for the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from tunesmith_server.domain.errors import (
    Conflict,
    Overloaded,
    ResourceInUse,
    ResourceLimitExceeded,
    ResourceNotFound,
    StoreUnavailable,
)
from tunesmith_server.store.open_errors import StoreOpenError
from tunesmith_server.store.writes import (
    CLOSE,
    HEADER_BYTES,
    CommitRows,
    Outcome,
    Write,
    body_length,
    frame,
    message_of,
)

logger = logging.getLogger(__name__)

#: A full queue is written in about this time on an ordinary disk.
RETRY_AFTER: Final = timedelta(seconds=1)

#: Runs the process; ``-P`` keeps the server's working directory from being a place of modules.
_COMMAND: Final = (sys.executable, "-P", "-m", "tunesmith_server.store.writer_process")

_ERRORS: Final = {
    error.__name__: error
    for error in (
        Conflict,
        ResourceInUse,
        ResourceLimitExceeded,
        ResourceNotFound,
        StoreUnavailable,
    )
}


@dataclass(slots=True)
class _Queued:
    """Hold a write, and who waits for what comes of it."""

    write: Write
    future: asyncio.Future[object]

    def answer(self, outcome: Outcome) -> None:
        """Hand on what came of it."""
        if self.future.done():
            return  # the caller has gone; the write stands
        if not outcome.refused_as:
            self.future.set_result(outcome.said)
            return
        kind = _ERRORS.get(outcome.refused_as, RuntimeError)
        self.future.set_exception(kind(str(outcome.said)))


class _Gone(Exception):
    """The process has ended: there is no answer any more."""


class Writer:
    """Have changes carried out and made durable, in groups; for one event loop.

    Attributes:
        lost: Set when the process has ended by itself. Nobody knows what became of the last group.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, *, max_queued: int, group_limit: int
    ) -> None:
        if process.stdin is None or process.stdout is None:  # both are pipes
            raise AssertionError
        self.lost = asyncio.Event()
        self._process = process
        self._input, self._output = process.stdin, process.stdout
        self._max_queued = max_queued
        self._group_limit = group_limit
        self._queue: deque[_Queued] = deque()
        self._change = asyncio.Event()
        self._under_way: Sequence[_Queued] = ()
        self._closing = self._has_closed = self._is_gone = False
        self._answers: asyncio.Queue[object] = asyncio.Queue()
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, path: Path, *, lock_fd: int, max_queued: int, group_limit: int) -> Self:
        """Start the process.

        Args:
            path: The database, which is there and of this release's schema.
            lock_fd: The open file whose lock the process is to hold on to.
            max_queued: How many writes may wait for the next group.
            group_limit: How many writes a group may have.

        Raises:
            StoreOpenError: It can't open the database for writing.
        """
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            str(path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(lock_fd,),
            # Signals of a terminal reach the server alone, which then closes the store.
            start_new_session=True,
        )
        writer = cls(process, max_queued=max_queued, group_limit=group_limit)
        try:
            trouble = await writer._read()
        except asyncio.IncompleteReadError:
            trouble = "the process that writes ended at once."
        if trouble:
            await writer._end()
            raise StoreOpenError(path, str(trouble))
        serving = asyncio.create_task(writer._serve())
        writer._listening = asyncio.create_task(writer._listen(serving))
        return writer

    @property
    def pid(self) -> int:
        """Give the process's number."""
        return self._process.pid

    async def commit(self, rows: CommitRows) -> None:
        """Queue a change of a tuning job and return once it is durable, as ``apply`` does.

        Raises:
            Conflict: It is not on the version that it was decided on.
            Overloaded: Too many writes wait.
            StoreUnavailable: The change could not be made durable, or the store is closed.
        """
        await self.apply("commit", tuple(rows))

    async def apply(self, change: str, *arguments: object) -> object:
        """Queue a change, a function of ``changes``, and return its result once it is durable.

        A change whose caller is cancelled meanwhile is carried out all the same.

        Raises:
            Overloaded: Too many writes wait.
            StoreUnavailable: The change could not be made durable, or the store is closed.
        """
        if self._closing or self._is_gone:
            raise StoreUnavailable("The change was not made: the store is closed.")
        if len(self._queue) >= self._max_queued:
            raise Overloaded(
                f"The change was not made: {len(self._queue)} others wait for the disk.",
                retry_after=RETRY_AFTER,
            )
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(Write(change, arguments), future))
        self._change.set()
        return await future

    async def close(self) -> None:
        """Finish what is queued and end the process. Idempotent."""
        self._closing = True
        self._change.set()
        if self._listening is not None:
            await self._listening

    async def _serve(self) -> None:
        """Write group after group until closing, or until the process is gone."""
        try:
            while group := await self._next_group():
                self._under_way = group
                for queued, outcome in zip(group, await self._written(group), strict=True):
                    queued.answer(outcome)
                self._under_way = ()
            await self._told(CLOSE)
            self._has_closed = True
        finally:
            self._input.close()  # the process ends, whatever went wrong here

    async def _listen(self, serving: asyncio.Task[None]) -> None:
        """Take in what the process says to its end; tell who waits if it was not told to end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                self._answers.put_nowait(await self._read())
        self._is_gone = True
        self._answers.put_nowait(_Gone())
        self._change.set()
        (trouble,) = await asyncio.gather(serving, return_exceptions=True)
        status = await self._end()
        if self._has_closed:
            return
        if not isinstance(trouble, OSError | _Gone):
            logger.error("the store's writer broke down", exc_info=trouble)
        logger.critical("the process that writes ended with status %s", status)
        self.lost.set()
        unknown = "The writer has ended; whether the change was made is not known."
        for queued in (*self._under_way, *self._queue):
            queued.answer(Outcome("StoreUnavailable", unknown))
        self._queue.clear()

    async def _next_group(self) -> Sequence[_Queued]:
        """Wait for writes and take all that fit a group; none: the store is being closed."""
        while not (self._queue or self._closing or self._is_gone):
            self._change.clear()
            await self._change.wait()
            # After what else is ready on the loop: callers who were answered together come back
            # together, and would else be split into the first and the others.
            await asyncio.sleep(0)
        return [self._queue.popleft() for _ in range(min(len(self._queue), self._group_limit))]

    async def _written(self, group: Sequence[_Queued]) -> list[Outcome]:
        """Have a group written.

        Raises:
            OSError: The process is gone.
            _Gone: The same.
        """
        answer = await self._told([tuple(queued.write) for queued in group])
        return [Outcome(*outcome) for outcome in answer]  # type: ignore[attr-defined]  # frames of the other end, which is this release too

    async def _told(self, message: object) -> object:
        if self._input.is_closing():
            raise _Gone
        self._input.write(frame(message))
        answer = await self._answers.get()
        if isinstance(answer, _Gone):
            raise answer
        return answer

    async def _read(self) -> object:
        length = body_length(await self._output.readexactly(HEADER_BYTES))
        return message_of(await self._output.readexactly(length))

    async def _end(self) -> int:
        """See the process to its end, which comes with that of its input; gives its status."""
        self._input.close()
        # The pipes too: what is left to the garbage collector is a warning.
        await self._output.read()
        with contextlib.suppress(OSError):
            await self._input.wait_closed()
        return await self._process.wait()
