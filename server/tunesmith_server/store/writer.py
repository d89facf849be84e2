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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Final, Self, cast

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

#: The longest answer, far more than a group's; read as a length, four letters of a text are more.
_ANSWER_BYTES: Final = 2**29

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


class Writer:
    """Have changes carried out and made durable, in groups; for one event loop.

    Attributes:
        lost: Set when the process has ended by itself. Nobody knows what became of the last group.
    """

    def __init__(self, process: _Process, *, max_queued: int, group_limit: int) -> None:
        self.lost = asyncio.Event()
        self._process = process
        self._max_queued = max_queued
        self._group_limit = group_limit
        self._queue: deque[_Queued] = deque()
        self._under_way: Sequence[_Queued] = ()
        # Whether the next group is to be put together at the loop's next turn.
        self._is_gathering = False
        self._is_closing = False
        process.on_answer, process.on_end = self._answered, self._ended

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
            OSError: It can't be started.
        """
        process = await _Process.start(path, lock_fd=lock_fd)
        try:
            trouble = await process.first_words()
        except asyncio.CancelledError:
            process.kill()  # it has the lock
            await process.ended()
            raise
        if trouble != "" or process.has_ended:
            await process.ended()
            raise StoreOpenError(path, str(trouble or "the process that writes ended at once."))
        return cls(process, max_queued=max_queued, group_limit=group_limit)

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
        if self._is_closing or self._process.is_gone:
            raise StoreUnavailable("The change was not made: the store is closed.")
        if len(self._queue) >= self._max_queued:
            raise Overloaded(
                f"The change was not made: {len(self._queue)} others wait for the disk.",
                retry_after=RETRY_AFTER,
            )
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._queue.append(_Queued(Write(change, arguments), future))
        self._gather()
        return await future

    async def close(self) -> None:
        """Finish what is queued and end the process. Idempotent."""
        self._is_closing = True
        self._gather()
        await self._process.ended()

    def _gather(self) -> None:
        """Have the next group written, unless one is under way.

        After what else is ready on the loop has run: callers who were answered together come back
        together, and would else be split into the first and the others.
        """
        if not (self._under_way or self._is_gathering):
            self._is_gathering = True
            asyncio.get_running_loop().call_soon(self._write_group)

    def _write_group(self) -> None:
        self._is_gathering = False
        if message := self._next_group():
            self._process.tell(message)
        elif self._is_closing:
            self._process.tell(frame(CLOSE))

    def _next_group(self) -> bytes:
        """Take what is to be written together out of the queue, and frame it; empty: it is nothing.

        A write that can't be framed is refused alone; writes that are too much together are parted.
        """
        limit = self._group_limit
        while self._queue:
            group = list(islice(self._queue, limit))
            try:
                message = frame([tuple(queued.write) for queued in group])
            except (ValueError, OverflowError, MemoryError) as error:
                limit = len(group) // 2
                if limit == 0:
                    self._queue.popleft().answer(Outcome("bug", f"{type(error).__name__}: {error}"))
                    limit = self._group_limit
                continue
            for _ in group:
                self._queue.popleft()
            self._under_way = group
            return message
        return b""

    def _answered(self, message: object) -> None:
        """Take in what came of the group that was under way, or that the database is closed.

        Raises:
            ValueError: It answers something else; nobody has been told anything.
            TypeError: As ValueError.
        """
        if not self._under_way:
            if not self._is_closing:
                raise ValueError("it answers what it was not asked")
            self._process.close()
            return
        outcomes = [Outcome(*outcome) for outcome in message]  # type: ignore[attr-defined]  # frames of the other end, which is this release too
        answers = list(zip(self._under_way, outcomes, strict=True))
        self._under_way = ()
        for queued, outcome in answers:
            queued.answer(outcome)
        self._gather()

    def _ended(self) -> None:
        """Tell whoever waits, unless the process was told to end."""
        if self._process.is_closed:
            return
        logger.critical("the process that writes ended with status %s", self._process.status)
        self.lost.set()
        unknown = "The writer has ended; whether the change was made is not known."
        for queued in (*self._under_way, *self._queue):
            queued.answer(Outcome("StoreUnavailable", unknown))
        self._queue.clear()


class _Process(asyncio.SubprocessProtocol):
    """Talk to the process by callbacks: an answer is with its callers in the turn it comes in.

    Attributes:
        on_answer: Is called with each message that it says.
        on_end: Is called when it has ended.
        pid: Its number.
        is_closed: It was told to end, or told us that it does.
        status: Its exit status, once it has ended.
    """

    def __init__(self) -> None:
        self.on_answer: Callable[[object], None]
        self.on_end: Callable[[], None] = lambda: None
        self.pid = 0
        self.is_closed = False
        self.status: int | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._said = bytearray()

    @classmethod
    async def start(cls, path: Path, *, lock_fd: int) -> Self:
        """Start the process; it has said nothing yet."""
        _, process = await asyncio.get_running_loop().subprocess_exec(
            cls,
            *_COMMAND,
            str(path),
            stderr=None,
            pass_fds=(lock_fd,),
            # Signals of a terminal reach the server alone, which then closes the store.
            start_new_session=True,
        )
        return process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the process and its pipes over."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()
        self._input = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))

    @property
    def is_gone(self) -> bool:
        """Tell whether it has ended, or is ending."""
        return self._input.is_closing()

    @property
    def has_ended(self) -> bool:
        """Tell whether it has ended, and ``on_end`` has been called."""
        return self._end.done()

    def tell(self, message: bytes) -> None:
        """Say something, a frame; a process that is gone hears nothing."""
        if not self.is_gone:
            self._input.write(message)

    def kill(self) -> None:
        """End it, whatever it is at."""
        with contextlib.suppress(ProcessLookupError):
            self._transport.kill()

    def close(self) -> None:
        """Take note that it has nothing to say any more."""
        self.is_closed = True
        self._input.close()

    async def first_words(self) -> object:
        """Wait for its first message; None: it has ended instead."""
        first: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.on_answer = first.set_result
        await asyncio.wait((first, self._end), return_when=asyncio.FIRST_COMPLETED)
        return first.result() if first.done() else None

    async def ended(self) -> None:
        """Wait for its end."""
        await asyncio.shield(self._end)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - it has one pipe that is read
        """Take in what it says, as it comes; one that talks nonsense is not to write on."""
        self._said += data
        try:
            while (body := self._next_body()) is not None:
                self.on_answer(message_of(body))
        except Exception:
            logger.exception("the process that writes talks nonsense; it is killed")
            self._said.clear()
            self.kill()

    def _next_body(self) -> bytes | None:
        """Take a frame's body out of what it has said; None: there is no whole one yet.

        Raises:
            ValueError: It would be too long; so would be any text that got in between.
        """
        if len(self._said) < HEADER_BYTES:
            return None
        length = body_length(self._said[:HEADER_BYTES])
        if length > _ANSWER_BYTES:
            raise ValueError(f"an answer of {length} bytes")
        end = HEADER_BYTES + length
        if len(self._said) < end:
            return None
        body = bytes(self._said[HEADER_BYTES:end])
        del self._said[:end]
        return body

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Let go of the other pipe too, when it has closed one."""
        self._input.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Take note of its end."""
        self.status = self._transport.get_returncode()
        self._transport.close()
        self.on_end()
        self._end.set_result(None)
