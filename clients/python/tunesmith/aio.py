"""The asynchronous client: SageMaker's tuning operations, and a watch.

The only implementation; ``sync.py`` drives it. Requests are SageMaker's, as a dict or as the
message; answers are messages, which ``tunesmith.to_aws`` turns into SageMaker's JSON.

    async with tunesmith.aio.connect("localhost:7070") as client:
        job = await client.create(request)
        async for event in job.watch():
            ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tunesmith.aws_json import from_aws
from tunesmith.calls import Caller, CallSettings
from tunesmith.errors import NotServed
from tunesmith.trials import AsyncTrials
from tunesmith.v1.event_pb2 import (
    WatchHyperParameterTuningJobRequest,
    WatchHyperParameterTuningJobResponse,
)
from tunesmith.v1.tag_pb2 import Tag
from tunesmith.v1.training_job_operations_pb2 import (
    DeleteTrainingJobRequest,
    DescribeTrainingJobRequest,
    DescribeTrainingJobResponse,
    ListTrainingJobsForHyperParameterTuningJobRequest,
    ListTrainingJobsForHyperParameterTuningJobResponse,
    ListTrainingJobsRequest,
    ListTrainingJobsResponse,
    StopTrainingJobRequest,
)
from tunesmith.v1.training_job_pb2 import TrainingJobSummary
from tunesmith.v1.tuning_job_pb2 import (
    HyperParameterTrainingJobSummary,
    HyperParameterTuningJobStatus,
    HyperParameterTuningJobSummary,
)
from tunesmith.v1.tuning_service_pb2 import (
    DESCRIPTOR,
    AddTagsRequest,
    CreateHyperParameterTuningJobRequest,
    DeleteHyperParameterTuningJobRequest,
    DeleteTagsRequest,
    DescribeHyperParameterTuningJobRequest,
    DescribeHyperParameterTuningJobResponse,
    ListHyperParameterTuningJobsRequest,
    ListHyperParameterTuningJobsResponse,
    ListTagsRequest,
    ListTagsResponse,
    StopHyperParameterTuningJobRequest,
)

#: SageMaker's request: its JSON as a dict, or the message.
Request: TypeAlias = Mapping[str, Any] | Message

#: Statuses in which a tuning job has ended.
ENDED: Final = frozenset(
    {
        HyperParameterTuningJobStatus.HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED,
        HyperParameterTuningJobStatus.HYPER_PARAMETER_TUNING_JOB_STATUS_FAILED,
        HyperParameterTuningJobStatus.HYPER_PARAMETER_TUNING_JOB_STATUS_STOPPED,
        HyperParameterTuningJobStatus.HYPER_PARAMETER_TUNING_JOB_STATUS_DELETE_FAILED,
    }
)

_PAGE: Final = 100
_POLL_S: Final = 0.5
M = TypeVar("M", bound=Message)
Page = TypeVar(
    "Page",
    ListHyperParameterTuningJobsResponse,
    ListTrainingJobsForHyperParameterTuningJobResponse,
    ListTrainingJobsResponse,
    ListTagsResponse,
)
Query = TypeVar(
    "Query",
    ListHyperParameterTuningJobsRequest,
    ListTrainingJobsForHyperParameterTuningJobRequest,
    ListTrainingJobsRequest,
    ListTagsRequest,
)


def connect(
    address: str = "localhost:7070", *, settings: CallSettings | None = None
) -> AsyncClient:
    """Make a client of the server at an address, ``HOST:PORT``.

    The server is looked for at the first call, not here. Use it in ``async with``, or ``close`` it.

    Args:
        address: Where the server is.
        settings: Deadlines and retries; absent: ``CallSettings()``.
    """
    return AsyncClient(Caller(address, settings=settings or CallSettings()))


class AsyncClient:
    """Call one server. Every method raises ``TunesmithError`` when its call fails."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub = caller.stub

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def address(self) -> str:
        """Give where the server is, ``HOST:PORT``."""
        return self._caller.address

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._caller.close()

    async def create(self, request: Request, *, request_id: str | None = None) -> AsyncJob:
        """Create a tuning job; on return it is durable and in progress.

        Args:
            request: CreateHyperParameterTuningJob's.
            request_id: Of an earlier call that this one repeats; absent: a new one.

        Raises:
            InvalidRequest: The request breaks constraints; all of them are listed.
            ResourceInUse: The name is taken.
            NotServed: It asks for what this server does not serve yet.
        """
        message = _message(request, CreateHyperParameterTuningJobRequest)
        answer = await self._caller.change(
            self._stub.CreateHyperParameterTuningJob, message, request_id=request_id
        )
        return AsyncJob(
            self,
            message.hyper_parameter_tuning_job_name,
            arn=answer.hyper_parameter_tuning_job_arn,
        )

    def job(self, name: str) -> AsyncJob:
        """Give the handle of a tuning job without asking the server for it."""
        return AsyncJob(self, name, arn=None)

    async def describe(self, name: str) -> DescribeHyperParameterTuningJobResponse:
        """Describe a tuning job."""
        return await self._caller.read(
            self._stub.DescribeHyperParameterTuningJob,
            DescribeHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name),
        )

    def list(self, request: Request | None = None) -> AsyncIterator[HyperParameterTuningJobSummary]:
        """List tuning jobs over all pages.

        Args:
            request: ListHyperParameterTuningJobs's filters and order; absent: all, by name.
        """
        query = _message(request or {}, ListHyperParameterTuningJobsRequest)
        return self._pages(
            self._stub.ListHyperParameterTuningJobs,
            query,
            lambda page: page.hyper_parameter_tuning_job_summaries,
        )

    async def stop(self, name: str) -> None:
        """Stop a tuning job and its training jobs; on return it is stopping."""
        await self._caller.change(
            self._stub.StopHyperParameterTuningJob,
            StopHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name),
        )

    async def delete(self, name: str) -> None:
        """Delete the entry of a tuning job that has ended; what it produced stays."""
        await self._caller.change(
            self._stub.DeleteHyperParameterTuningJob,
            DeleteHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name),
        )

    def watch(
        self,
        name: str,
        *,
        after_sequence: int = 0,
        training_job_name: str | None = None,
        kinds: Iterable[str] = (),
    ) -> AsyncIterator[WatchHyperParameterTuningJobResponse]:
        """Stream a tuning job's events until it has ended, over disconnects.

        Args:
            name: Of the tuning job.
            after_sequence: Of the last event already seen; 0: from the first.
            training_job_name: Only events about this training job, and the tuning job's own.
            kinds: Only events of these kinds: ``TuningJob``, ``TrainingJob``, ``Metric``,
                ``Log``. The event that ends the tuning job always comes. Absent: all kinds.
        """
        wanted = {
            "HyperParameterTuningJobName": name,
            "AfterSequence": after_sequence,
            "TrainingJobName": training_job_name,
            "EventKinds": list(kinds),
        }
        return self._caller.watch(from_aws(wanted, WatchHyperParameterTuningJobRequest))

    def trials(self, name: str, *, workers: int = 1, client_id: str | None = None) -> AsyncTrials:
        """Ask for a tuning job's trials; the job's ``trials``."""
        return AsyncTrials(self._caller, name, workers=workers, client_id=client_id)

    def training_jobs(
        self, name: str, request: Request | None = None
    ) -> AsyncIterator[HyperParameterTrainingJobSummary]:
        """List a tuning job's training jobs over all pages.

        Args:
            name: Of the tuning job.
            request: ListTrainingJobsForHyperParameterTuningJob's filters and order.
        """
        query = _message(request or {}, ListTrainingJobsForHyperParameterTuningJobRequest)
        query.hyper_parameter_tuning_job_name = name
        return self._pages(
            self._stub.ListTrainingJobsForHyperParameterTuningJob,
            query,
            lambda page: page.training_job_summaries,
        )

    def list_training_jobs(
        self, request: Request | None = None
    ) -> AsyncIterator[TrainingJobSummary]:
        """List the training jobs of all tuning jobs over all pages.

        Args:
            request: ListTrainingJobs's filters and order; absent: all, by time of creation.
        """
        query = _message(request or {}, ListTrainingJobsRequest)
        return self._pages(
            self._stub.ListTrainingJobs, query, lambda page: page.training_job_summaries
        )

    async def describe_training_job(self, name: str) -> DescribeTrainingJobResponse:
        """Describe a training job."""
        return await self._caller.read(
            self._stub.DescribeTrainingJob, DescribeTrainingJobRequest(training_job_name=name)
        )

    async def stop_training_job(self, name: str) -> None:
        """Stop one training job; its tuning job goes on."""
        await self._caller.change(
            self._stub.StopTrainingJob, StopTrainingJobRequest(training_job_name=name)
        )

    async def delete_training_job(self, name: str) -> None:
        """Delete the entry of a training job that has ended; its artifacts stay."""
        await self._caller.change(
            self._stub.DeleteTrainingJob, DeleteTrainingJobRequest(training_job_name=name)
        )

    async def tags(self, arn: str) -> dict[str, str]:
        """Give the tags of a tuning job or training job."""
        pages = self._pages(
            self._stub.ListTags, ListTagsRequest(resource_arn=arn), lambda page: page.tags
        )
        return {tag.key: tag.value async for tag in pages}

    async def add_tags(self, arn: str, tags: Mapping[str, str]) -> dict[str, str]:
        """Set tags; a known key gets the new value. Give all tags after the change."""
        answer = await self._caller.change(
            self._stub.AddTags,
            AddTagsRequest(
                resource_arn=arn, tags=[Tag(key=key, value=value) for key, value in tags.items()]
            ),
        )
        return {tag.key: tag.value for tag in answer.tags}

    async def delete_tags(self, arn: str, keys: Iterable[str]) -> None:
        """Remove tags; unknown keys are passed over."""
        await self._caller.change(
            self._stub.DeleteTags, DeleteTagsRequest(resource_arn=arn, tag_keys=keys)
        )

    async def call(
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
        known = _operations()
        if operation not in known:
            raise NotServed(
                f"There is no operation {operation!r}; there are {', '.join(sorted(known))}.",
                reason="UnknownOperationException",
            )
        message = _message(request or {}, GetMessageClass(known[operation].input_type))
        method: grpc.aio.UnaryUnaryMultiCallable[Message, Message] = getattr(self._stub, operation)
        if operation.startswith(("Describe", "List")):
            return await self._caller.read(method, message)
        return await self._caller.change(method, message, request_id=request_id)

    async def _pages(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Query, Page],
        query: Query,
        items: Callable[[Page], Iterable[M]],
    ) -> AsyncIterator[M]:
        if not query.max_results:
            query.max_results = _PAGE
        while True:
            page = await self._caller.read(method, query)
            for item in items(page):
                yield item
            if not page.next_token:
                return
            query.next_token = page.next_token


class AsyncJob:
    """Hold on to one tuning job.

    Attributes:
        name: Of the tuning job.
        arn: Its ARN; ``None`` for a handle that was made from the name.
    """

    def __init__(self, client: AsyncClient, name: str, *, arn: str | None) -> None:
        self._client = client
        self.name = name
        self.arn = arn

    async def describe(self) -> DescribeHyperParameterTuningJobResponse:
        """Describe the tuning job."""
        return await self._client.describe(self.name)

    def watch(
        self,
        *,
        after_sequence: int = 0,
        training_job_name: str | None = None,
        kinds: Iterable[str] = (),
    ) -> AsyncIterator[WatchHyperParameterTuningJobResponse]:
        """Stream its events until it has ended, over disconnects; the client's ``watch``."""
        return self._client.watch(
            self.name,
            after_sequence=after_sequence,
            training_job_name=training_job_name,
            kinds=kinds,
        )

    def trials(self, *, workers: int = 1, client_id: str | None = None) -> AsyncTrials:
        """Ask for its trials, to run them here, until it has ended: an asynchronous iterator.

        Args:
            workers: At most so many trials are open here at a time: with more than one, complete
                them in tasks of their own. The iteration waits while all are open.
            client_id: Of this process; absent: one that no other has. A process that comes back
                under the same one goes on with the trials that it had.

        Raises:
            InvalidState: Runners run its trials: it has a ``TrainingJobDefinition``.
            ResourceNotFound: There is no such tuning job.
            ValueError: There is to be less than one worker.
        """
        return self._client.trials(self.name, workers=workers, client_id=client_id)

    async def wait(self) -> DescribeHyperParameterTuningJobResponse:
        """Wait until the tuning job has ended, and describe it. It may have failed."""
        last = 0
        while True:
            async for event in self.watch(after_sequence=last):
                last = event.sequence
            described = await self.describe()
            if described.hyper_parameter_tuning_job_status in ENDED:
                return described
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Stop the tuning job and its training jobs; on return it is stopping."""
        await self._client.stop(self.name)

    async def delete(self) -> None:
        """Delete the tuning job's entry once it has ended."""
        await self._client.delete(self.name)

    def training_jobs(
        self, request: Request | None = None
    ) -> AsyncIterator[HyperParameterTrainingJobSummary]:
        """List its training jobs over all pages."""
        return self._client.training_jobs(self.name, request)


def _message(request: Request, message_type: type[M]) -> M:
    if isinstance(request, message_type):
        copy = message_type()
        copy.CopyFrom(request)
        return copy
    if isinstance(request, Message):
        raise TypeError(
            f"the request is a {type(request).__name__}; this operation takes a "
            f"{message_type.__name__}, or SageMaker's JSON as a dict"
        )
    return from_aws(dict(request), message_type)


def _operations() -> dict[str, MethodDescriptor]:
    service = DESCRIPTOR.services_by_name["TuningService"]
    return {
        method.name: method for method in service.methods if not method.name.startswith("Watch")
    }
