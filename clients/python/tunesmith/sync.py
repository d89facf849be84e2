"""The synchronous client: the asynchronous one, driven on a thread with a loop of its own.

    with tunesmith.connect("localhost:7070") as client:
        job = client.create(request)
        for event in job.watch():
            ...

Safe to use from several threads. Not for programs on asyncio; see ``aio.py``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from google.protobuf.message import Message

from tunesmith import aio
from tunesmith.aio import Request
from tunesmith.calls import CallSettings
from tunesmith.trials import AsyncJobTrial
from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse
from tunesmith.v1.training_job_operations_pb2 import DescribeTrainingJobResponse
from tunesmith.v1.training_job_pb2 import TrainingJobSummary
from tunesmith.v1.tuning_job_pb2 import (
    HyperParameterTrainingJobSummary,
    HyperParameterTuningJobSummary,
)
from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse

T = TypeVar("T")

#: Items of a stream or list that are read before they are asked for.
_READ_AHEAD: Final = 1024


def connect(address: str = "localhost:7070", *, settings: CallSettings | None = None) -> Client:
    """Make a client of the server at an address, ``HOST:PORT``.

    The server is looked for at the first call, not here. Use it in ``with``, or ``close`` it.

    Args:
        address: Where the server is.
        settings: Deadlines and retries; absent: ``CallSettings()``.
    """
    return Client(address, settings=settings or CallSettings())


class Client:
    """Call one server. Every method raises ``TunesmithError`` when its call fails."""

    def __init__(self, address: str, *, settings: CallSettings) -> None:
        self._thread = _LoopThread()
        try:
            self._client = self._thread.run(_connected(address, settings))
        except BaseException:
            self._thread.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Give where the server is, ``HOST:PORT``."""
        return self._client.address

    def close(self) -> None:
        """Close the connection; calls under way are cancelled. Closing again does nothing."""
        if not self._thread.closed:
            self._thread.run(self._client.close())
            self._thread.close()

    def create(self, request: Request, *, request_id: str | None = None) -> Job:
        """Create a tuning job; on return it is durable and in progress.

        Args:
            request: CreateHyperParameterTuningJob's.
            request_id: Of an earlier call that this one repeats; absent: a new one.

        Raises:
            InvalidRequest: The request breaks constraints; all of them are listed.
            ResourceInUse: The name is taken.
            NotServed: It asks for what this server does not serve yet.
        """
        job = self._thread.run(self._client.create(request, request_id=request_id))
        return Job(self, job.name, arn=job.arn)

    def job(self, name: str) -> Job:
        """Give the handle of a tuning job without asking the server for it."""
        return Job(self, name, arn=None)

    def describe(self, name: str) -> DescribeHyperParameterTuningJobResponse:
        """Describe a tuning job."""
        return self._thread.run(self._client.describe(name))

    def wait(self, name: str) -> DescribeHyperParameterTuningJobResponse:
        """Wait until a tuning job has ended, and describe it. It may have failed."""
        return self._thread.run(self._client.job(name).wait())

    def list(self, request: Request | None = None) -> Iterator[HyperParameterTuningJobSummary]:
        """List tuning jobs over all pages.

        Args:
            request: ListHyperParameterTuningJobs's filters and order; absent: all, by name.
        """
        return self._thread.iterate(self._client.list(request))

    def stop(self, name: str) -> None:
        """Stop a tuning job and its training jobs; on return it is stopping."""
        self._thread.run(self._client.stop(name))

    def delete(self, name: str) -> None:
        """Delete the entry of a tuning job that has ended; what it produced stays."""
        self._thread.run(self._client.delete(name))

    def watch(
        self,
        name: str,
        *,
        after_sequence: int = 0,
        training_job_name: str | None = None,
        kinds: Iterable[str] = (),
    ) -> Iterator[WatchHyperParameterTuningJobResponse]:
        """Stream a tuning job's events until it has ended, over disconnects.

        Args:
            name: Of the tuning job.
            after_sequence: Of the last event already seen; 0: from the first.
            training_job_name: Only events about this training job, and the tuning job's own.
            kinds: Only events of these kinds: ``TuningJob``, ``TrainingJob``, ``Metric``,
                ``Log``. The event that ends the tuning job always comes. Absent: all kinds.
        """
        events = self._client.watch(
            name, after_sequence=after_sequence, training_job_name=training_job_name, kinds=kinds
        )
        return self._thread.iterate(events)

    def trials(
        self, name: str, *, workers: int = 1, client_id: str | None = None
    ) -> Iterator[JobTrial]:
        """Ask for a tuning job's trials; the job's ``trials``."""
        trials = self._client.trials(name, workers=workers, client_id=client_id)
        return (JobTrial(self._thread, trial) for trial in self._thread.each(trials))

    def training_jobs(
        self, name: str, request: Request | None = None
    ) -> Iterator[HyperParameterTrainingJobSummary]:
        """List a tuning job's training jobs over all pages.

        Args:
            name: Of the tuning job.
            request: ListTrainingJobsForHyperParameterTuningJob's filters and order.
        """
        return self._thread.iterate(self._client.training_jobs(name, request))

    def list_training_jobs(self, request: Request | None = None) -> Iterator[TrainingJobSummary]:
        """List the training jobs of all tuning jobs over all pages.

        Args:
            request: ListTrainingJobs's filters and order; absent: all, by time of creation.
        """
        return self._thread.iterate(self._client.list_training_jobs(request))

    def describe_training_job(self, name: str) -> DescribeTrainingJobResponse:
        """Describe a training job."""
        return self._thread.run(self._client.describe_training_job(name))

    def stop_training_job(self, name: str) -> None:
        """Stop one training job; its tuning job goes on."""
        self._thread.run(self._client.stop_training_job(name))

    def delete_training_job(self, name: str) -> None:
        """Delete the entry of a training job that has ended; its artifacts stay."""
        self._thread.run(self._client.delete_training_job(name))

    def tags(self, arn: str) -> dict[str, str]:
        """Give the tags of a tuning job or training job."""
        return self._thread.run(self._client.tags(arn))

    def add_tags(self, arn: str, tags: Mapping[str, str]) -> dict[str, str]:
        """Set tags; a known key gets the new value. Give all tags after the change."""
        return self._thread.run(self._client.add_tags(arn, tags))

    def delete_tags(self, arn: str, keys: Iterable[str]) -> None:
        """Remove tags; unknown keys are passed over."""
        self._thread.run(self._client.delete_tags(arn, keys))

    def call(
        self, operation: str, request: Request | None = None, *, request_id: str | None = None
    ) -> Message:
        """Call any operation of the service by its name and give its answer, one page of it.

        Args:
            operation: E.g. ``ListTags``.
            request: The operation's; absent: an empty one.
            request_id: Of an earlier call that this one repeats; absent: a new one.

        Raises:
            NotServed: There is no such operation, or it answers with a stream.
        """
        return self._thread.run(self._client.call(operation, request, request_id=request_id))


class Job:
    """Hold on to one tuning job.

    Attributes:
        name: Of the tuning job.
        arn: Its ARN; ``None`` for a handle that was made from the name.
    """

    def __init__(self, client: Client, name: str, *, arn: str | None) -> None:
        self._client = client
        self.name = name
        self.arn = arn

    def describe(self) -> DescribeHyperParameterTuningJobResponse:
        """Describe the tuning job."""
        return self._client.describe(self.name)

    def watch(
        self,
        *,
        after_sequence: int = 0,
        training_job_name: str | None = None,
        kinds: Iterable[str] = (),
    ) -> Iterator[WatchHyperParameterTuningJobResponse]:
        """Stream its events until it has ended, over disconnects; the client's ``watch``."""
        return self._client.watch(
            self.name,
            after_sequence=after_sequence,
            training_job_name=training_job_name,
            kinds=kinds,
        )

    def trials(self, *, workers: int = 1, client_id: str | None = None) -> Iterator[JobTrial]:
        """Ask for its trials, to run them here, until it has ended.

        Args:
            workers: At most so many trials are open here at a time: with more than one, complete
                them in threads of their own. The iteration waits while all are open.
            client_id: Of this process; absent: one that no other has. A process that comes back
                under the same one goes on with the trials that it had.

        Raises:
            InvalidState: Runners run its trials: it has a ``TrainingJobDefinition``.
            ResourceNotFound: There is no such tuning job.
            ValueError: There is to be less than one worker.
        """
        return self._client.trials(self.name, workers=workers, client_id=client_id)

    def wait(self) -> DescribeHyperParameterTuningJobResponse:
        """Wait until the tuning job has ended, and describe it. It may have failed."""
        return self._client.wait(self.name)

    def stop(self) -> None:
        """Stop the tuning job and its training jobs; on return it is stopping."""
        self._client.stop(self.name)

    def delete(self) -> None:
        """Delete the tuning job's entry once it has ended."""
        self._client.delete(self.name)

    def training_jobs(
        self, request: Request | None = None
    ) -> Iterator[HyperParameterTrainingJobSummary]:
        """List its training jobs over all pages."""
        return self._client.training_jobs(self.name, request)


class JobTrial:
    """Hold one trial that this process runs; its lease is renewed in the background."""

    def __init__(self, thread: _LoopThread, trial: AsyncJobTrial) -> None:
        self._thread = thread
        self._trial = trial

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {dict(self.parameters)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complete the trial as failed if the block ends by an error and has not completed it."""
        self._thread.run(self._trial.__aexit__(kind, error, traceback))

    @property
    def name(self) -> str:
        """Give the trial's name; it is a training job of the tuning job."""
        return self._trial.name

    @property
    def parameters(self) -> Mapping[str, float | int | str]:
        """Give value by hyperparameter, in the order of the request's ranges, each in its type."""
        return self._trial.parameters

    @property
    def should_stop(self) -> bool:
        """Tell whether the trial is to be completed now, with what it has.

        That is as last heard: by a report, or else by a renewal of the lease, once a minute.
        """
        return self._trial.should_stop

    def report(self, values: Mapping[str, float], *, step: int | None = None) -> bool:
        """Report values of metrics; durable on return.

        Args:
            values: By metric name; the objective is one of them, at most 40.
            step: Resource spent so far, such as epochs, from 1; values of a step that the server
                knows already are passed over. Absent: one more than the last.

        Returns:
            Whether the trial is to be completed now, with what it has.

        Raises:
            AlreadyCompleted: The trial has ended.
            Conflict: The lease was lost; ask for another trial.
        """
        return self._thread.run(self._trial.report(values, step=step))

    def complete(
        self,
        value: float | None = None,
        *,
        failed: str | None = None,
        infeasible: str | None = None,
    ) -> None:
        """End the trial; durable on return. Give exactly one of the three.

        Args:
            value: The objective. One that is not finite is none: the trial counts as worse than
                any.
            failed: Why the trial failed, in words.
            infeasible: Why these hyperparameters can't be evaluated, in words; that is no failure
                of the tuning job's.

        Raises:
            AlreadyCompleted: The trial has ended before, in another way than by this call.
            Conflict: The lease was lost, and with it this result.
            TypeError: Not exactly one of the three was given.
        """
        self._thread.run(self._trial.complete(value, failed=failed, infeasible=infeasible))


async def _connected(address: str, settings: CallSettings) -> aio.AsyncClient:
    # A channel belongs to the loop on which it is made.
    return aio.connect(address, settings=settings)


class _LoopThread:
    """Run coroutines on a loop in a thread of its own, for callers in other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="tunesmith-client", daemon=True
        )
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine's result; an interrupt of the wait cancels it."""
        if self.closed:
            work.close()
            raise RuntimeError("the client is closed; connect anew")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def each(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Give items one by one, and ask for none before it is wanted."""
        while (item := self.run(_next_of(items))) is not None:
            yield item

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Give the items of an asynchronous generator one by one."""
        ahead = _ReadAhead(items)
        try:
            while batch := self.run(ahead.batch()):
                yield from batch
        finally:
            if not self.closed:
                self.run(ahead.close())

    def close(self) -> None:
        # Whatever still reads ahead for an iterator that nobody goes on with.
        self.run(_cancelled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _ReadAhead(Generic[T]):
    """Read items on the loop before they are asked for: handing over each alone costs too much."""

    def __init__(self, items: AsyncIterator[T]) -> None:
        self._items = items
        self._read: asyncio.Queue[T | _End] = asyncio.Queue(maxsize=_READ_AHEAD)
        self._reader: asyncio.Task[None] | None = None
        self._end: _End | None = None

    async def batch(self) -> list[T]:
        """Give what has been read, at least one item; nothing at the end."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._run())
        batch: list[T] = []
        while self._end is None and (not batch or not self._read.empty()):
            item = await self._read.get()
            if isinstance(item, _End):
                self._end = item
            else:
                batch.append(item)
        if not batch and self._end is not None and self._end.error is not None:
            raise self._end.error
        return batch

    async def close(self) -> None:
        """End the reading, wherever it is."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()

    async def _run(self) -> None:
        error = None
        try:
            async for item in self._items:
                await self._read.put(item)
        except Exception as failure:  # noqa: BLE001 - it is raised to who asks for the next item
            error = failure
        await self._read.put(_End(error=error))


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """Follow the last item.

    Attributes:
        error: What ended the items, if it was one.
    """

    error: Exception | None


async def _next_of(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


async def _cancelled() -> None:
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    if others:
        await asyncio.wait(others)
    await loop.shutdown_asyncgens()
