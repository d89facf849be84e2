"""Compute workers: processes that hold the optimisers, so that the server loads no compiler.

A tuning job stays on its worker, where its model is warm. The first worker is started with the server,
the others when they are first needed. A worker that dies is started anew, and whoever had told it
something tells it again, all of it. ``compute_worker.py`` is the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from tunesmith_core.space.ranges import SearchSpace
from tunesmith_server.domain.history import End
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.engine.compute_messages import (
    Answer,
    Ask,
    Assess,
    Assessment,
    Message,
    Warm,
    decode,
    encode,
)
from tunesmith_server.engine.turns import Turns

logger = logging.getLogger(__name__)

#: Runs a worker; ``-P`` keeps the server's working directory from being a place of modules.
WORKER_COMMAND: Final = (sys.executable, "-P", "-m", "tunesmith_server.engine.compute_worker")

#: What is computed must not depend on how many cores there are, and trials need the others.
_ONE_THREAD: Final = dict.fromkeys(
    (
        "BLIS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)

#: So many tuning jobs whose models are small, and on a GPU, have a worker at a time, which answers them together.
SHARERS: Final = 64
#: A worker that takes longer to answer, or to be warm, hangs, and is killed.
PATIENCE_S: Final = 600.0
#: A worker whose connection was closed has ended before this, or is killed.
_END_S: Final = 1.0
_RESTART_PAUSE_S: Final = 1.0
#: A worker that ended sooner than this after its start is not started again at once.
_SETTLED_S: Final = 10.0
#: The longest line that a worker may say: a few configurations.
_LINE_BYTES: Final = 16 * 2**20


def worker_command(*, device: str, memory_bytes: int) -> tuple[str, ...]:
    """Give the command of a worker.

    Args:
        device: Where it computes: ``auto``, ``cpu``, ``gpu`` or ``gpu:NUMBER``.
        memory_bytes: The most of a GPU's memory that its arrays take.
    """
    return (*WORKER_COMMAND, device, str(memory_bytes))


class WorkerLost(Exception):
    """The worker died or was killed; what it had been told is gone."""


class Connection:
    """Talk to one worker process, from its start to its end.

    Attributes:
        lost: Set once the process is gone, or going.
    """

    def __init__(self, process: asyncio.subprocess.Process, *, patience_s: float) -> None:
        if process.stdin is None or process.stdout is None:  # both are pipes
            raise AssertionError
        self.lost = asyncio.Event()
        self._turns = Turns(SHARERS)
        self._in_line = 0
        self._process = process
        self._input, self._output = process.stdin, process.stdout
        self._patience_s = patience_s
        self._numbers = itertools.count(1)
        # None: it will never come.
        self._answers: dict[int, asyncio.Future[Answer | Assessment | None]] = {}
        self._limits: dict[int, asyncio.Timeout] = {}
        self._settled = asyncio.Event()  # it is warm, or lost

    @property
    def is_lost(self) -> bool:
        """Tell whether the process is gone, or going."""
        return self.lost.is_set()

    @property
    def is_warm(self) -> bool:
        """Tell whether no suggestion of this process waits for a compiler."""
        return self._settled.is_set() and not self.is_lost

    @property
    def in_line(self) -> int:
        """Count who has it, or waits for it."""
        return self._in_line

    @property
    def pid(self) -> int:
        """Give the process's number."""
        return self._process.pid

    @contextlib.asynccontextmanager
    async def turn(self, *, is_shared: bool = False) -> AsyncIterator[None]:
        """Have the worker for oneself within the block; whoever came first gets it first.

        Args:
            is_shared: Others who share may have it too, and the worker answers them together.
        """
        self._in_line += 1
        try:
            async with self._turns.turn(is_shared=is_shared):
                yield
        finally:
            self._in_line -= 1

    async def warmed(self) -> None:
        """Wait until the worker is warm.

        Raises:
            WorkerLost: It never will be.
        """
        async with self._patience():
            await self._settled.wait()
        if self.is_lost:
            raise WorkerLost("it ended before it was warm")

    async def ask(
        self,
        news: Sequence[Message],
        *,
        job_id: int,
        pending: Sequence[Suggestion],
        count: int,
    ) -> Answer:
        """Tell the worker what is new, and ask it for configurations of a tuning job.

        It is to be called in one's turn; the worker hurries if others wait for theirs, or share it.

        Raises:
            WorkerLost: It died meanwhile.
        """
        ask = Ask(
            number=next(self._numbers),
            job_id=job_id,
            pending=pending,
            count=count,
            hurried=self._in_line > 1,
        )
        answer = await self._answer_to(ask.number, [*news, ask])
        if not isinstance(answer, Answer):
            raise WorkerLost("it answered something else")
        return answer

    async def assess(
        self,
        *,
        spaces: Mapping[str | None, SearchSpace],
        maximise: bool,
        ends: Sequence[End],
        remaining: int,
    ) -> Assessment:
        """Ask whether a search has converged, in one's turn.

        Raises:
            WorkerLost: It died meanwhile.
        """
        question = Assess(
            number=next(self._numbers),
            spaces=spaces,
            maximise=maximise,
            ends=ends,
            remaining=remaining,
        )
        answer = await self._answer_to(question.number, [question])
        if not isinstance(answer, Assessment):
            raise WorkerLost("it answered something else")
        return answer

    async def _answer_to(self, number: int, messages: Sequence[Message]) -> Answer | Assessment:
        """Say something, and wait for the answer with a number."""
        coming = asyncio.get_running_loop().create_future()
        self._answers[number] = coming
        answer: Answer | Assessment | None = None
        try:
            async with self._patience(number):
                for message in messages:
                    self.post(message)
                    await self._input.drain()
                if not self.is_lost:
                    answer = await coming
        except OSError as error:
            raise WorkerLost("it does not listen any more") from error
        finally:
            self._answers.pop(number, None)
        if answer is None:
            raise WorkerLost("it died")
        return answer

    def post(self, message: Message) -> None:
        """Tell the worker something; never waits. A worker that is lost hears nothing."""
        if not self.is_lost and not self._input.is_closing():
            self._input.write(encode(message))

    async def listen(self) -> None:
        """Take in what the worker says, until it ends.

        Raises:
            ValueError: It talks nonsense.
        """
        while line := await self._output.readline():
            match decode(line):
                case Answer() | Assessment() as answer:
                    self._settle(answer.number, answer)
                    self._renew_patience()
                case Warm(fault=fault):
                    if fault:
                        logger.error("a compute worker can't compile its kernels: %s", fault)
                    self._settled.set()
                case other:
                    raise ValueError(f"{other} is for the server to say")

    def lose(self) -> None:
        """Expect nothing of the worker any more."""
        self.lost.set()
        self._settled.set()
        for number in tuple(self._answers):
            self._settle(number, None)

    async def end(self) -> int:
        """See the process to its end, which comes with that of its input; gives its status."""
        self._input.close()
        try:
            async with asyncio.timeout(_END_S):
                await self._process.wait()
        except TimeoutError:
            self._kill()
        # The pipes too: what is left to the garbage collector is a warning.
        while await self._output.read(_LINE_BYTES):
            pass
        with contextlib.suppress(OSError):
            await self._input.wait_closed()
        return await self._process.wait()

    def _settle(self, number: int, answer: Answer | Assessment | None) -> None:
        waiting = self._answers.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    @contextlib.asynccontextmanager
    async def _patience(self, number: int | None = None) -> AsyncIterator[None]:
        """Limit the time that the block takes, by the worker's death.

        Args:
            number: Of the answer that is waited for, if it is one: while others come, it does not hang.
        """
        try:
            async with asyncio.timeout(self._patience_s) as limit:
                if number is not None:
                    self._limits[number] = limit
                yield
        except TimeoutError:
            logger.warning("a compute worker hung for %g s; it is killed", self._patience_s)
            self._kill()
            raise WorkerLost("it hung") from None
        finally:
            if number is not None:
                self._limits.pop(number, None)

    def _renew_patience(self) -> None:
        """Take an answer as a sign of life, for all who wait for theirs."""
        until = asyncio.get_running_loop().time() + self._patience_s
        for limit in self._limits.values():
            if not limit.expired():
                limit.reschedule(until)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class Worker:
    """Keep one worker process going."""

    def __init__(self, command: Sequence[str], *, patience_s: float) -> None:
        self._command = command
        self._patience_s = patience_s
        self._connection: Connection | None = None
        self._needed, self._connected = asyncio.Event(), asyncio.Event()

    def need(self) -> None:
        """Have the process started, if it is not yet."""
        self._needed.set()

    async def connection(self) -> Connection:
        """Give the connection to the process, as soon as there is one."""
        self.need()
        while self._connection is None:
            await self._connected.wait()
        return self._connection

    def post(self, message: Message) -> None:
        """Tell the process something, if there is one; never waits."""
        if self._connection is not None:
            self._connection.post(message)

    async def run(self) -> None:
        """Keep a process going from when it is needed until cancelled; then end it."""
        await self._needed.wait()
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            try:
                status = await self._live()
            except (OSError, ValueError):
                logger.exception("a compute worker failed; starting anew")
            else:
                logger.warning("a compute worker ended with status %s; starting anew", status)
            if loop.time() - started_at < _SETTLED_S:
                await asyncio.sleep(_RESTART_PAUSE_S)

    async def _live(self) -> int:
        """Start a process and listen to it to its end; gives its exit status."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            # Ctrl-C in the server's terminal reaches the server alone, which then ends the worker.
            start_new_session=True,
            env={**os.environ, **_ONE_THREAD},
        )
        connection = Connection(process, patience_s=self._patience_s)
        self._connection = connection
        self._connected.set()
        try:
            await connection.listen()
        finally:
            self._connection = None
            self._connected.clear()
            connection.lose()
            ending = asyncio.create_task(connection.end())
            try:
                await asyncio.shield(ending)
            finally:
                status = await ending  # also when cancelled; it is not long
        return status


class Compute:
    """Hold the workers.

    Args:
        workers: How many, at least 1.
        command: Runs one.
        patience_s: How long one may take to answer, or to be warm, before it is killed.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        command: Sequence[str] = WORKER_COMMAND,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._workers = [Worker(command, patience_s=patience_s) for _ in range(workers)]
        self.at_hand.need()

    @property
    def at_hand(self) -> Worker:
        """Give the worker that is there from the start."""
        return self._workers[0]

    def worker_of(self, job_id: int) -> Worker:
        """Give the worker on which a tuning job is, always the same one."""
        return self._workers[(job_id - 1) % len(self._workers)]

    async def run(self) -> None:
        """Keep all workers going until cancelled; then end them."""
        async with asyncio.TaskGroup() as tasks:
            for worker in self._workers:
                tasks.create_task(worker.run())
