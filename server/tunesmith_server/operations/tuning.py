"""SageMaker's operations on tuning jobs, training jobs and tags, as both front doors call them.

Each takes its request's message and the caller's idempotency key, and gives its answer's message.
The contract's comments say what each does. Not for streams, which gRPC alone has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message

from tunesmith.v1 import tag_pb2
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.autotune import with_choices
from tunesmith_server.domain.errors import (
    InvalidPagingToken,
    InvalidRequest,
    ResourceNotFound,
    TrainingJobNotFound,
    Violation,
)
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.validation import check_request, validate_create
from tunesmith_server.engine.coordinator import Clock
from tunesmith_server.engine.jobs import Jobs
from tunesmith_server.operations import paging, queries
from tunesmith_server.operations.messages import Messages
from tunesmith_server.store.store import Store

#: A resource has at most so many tags.
MAX_TAGS: Final = 50


class TuningOperations:
    """Carry out the operations, each under the name that its RPC and SageMaker have for it."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        store: Store,
        messages: Messages,
        site: Site,
        clock: Clock,
        draw_seed: Callable[[], int],
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._messages = messages
        self._site = site
        self._clock = clock
        self._draw_seed = draw_seed

    def violations(self, request: Message) -> tuple[Violation, ...]:
        """List what any operation would refuse a request for that is wrong by itself."""
        try:
            if isinstance(request, pb.CreateHyperParameterTuningJobRequest):
                validate_create(with_choices(request, site=self._site), site=self._site)
            else:
                check_request(request)
        except InvalidRequest as error:
            return error.violations
        return ()

    async def CreateHyperParameterTuningJob(
        self, request: pb.CreateHyperParameterTuningJobRequest, request_id: str | None
    ) -> pb.CreateHyperParameterTuningJobResponse:
        """Create a tuning job; it is durable when this returns."""
        arn = await self._jobs.create(request, seed=self._draw_seed(), request_id=request_id)
        return pb.CreateHyperParameterTuningJobResponse(hyper_parameter_tuning_job_arn=arn)

    async def DescribeHyperParameterTuningJob(
        self, request: pb.DescribeHyperParameterTuningJobRequest, request_id: str | None
    ) -> pb.DescribeHyperParameterTuningJobResponse:
        """Describe a tuning job."""
        check_request(request)
        stored = await self._jobs.read(request.hyper_parameter_tuning_job_name)
        has_parents = stored.request.HasField("warm_start_config")
        parents = await self._store.parents(stored.job.job_id) if has_parents else ()
        return self._messages.tuning_job(
            stored,
            now=self._clock(),
            parents=parents,
            device=self._jobs.device(stored.job.job_id),
        )

    async def ListHyperParameterTuningJobs(
        self, request: pb.ListHyperParameterTuningJobsRequest, request_id: str | None
    ) -> pb.ListHyperParameterTuningJobsResponse:
        """List tuning jobs, a page at a time."""
        check_request(request)
        query = queries.tuning_jobs(request)
        if query is None:
            return pb.ListHyperParameterTuningJobsResponse()
        page = await self._store.list_jobs(query)
        summaries = [self._messages.tuning_job_summary(stored) for stored in page.items]
        return pb.ListHyperParameterTuningJobsResponse(
            hyper_parameter_tuning_job_summaries=summaries,
            next_token=paging.next_token(request, page.next),
        )

    async def StopHyperParameterTuningJob(
        self, request: pb.StopHyperParameterTuningJobRequest, request_id: str | None
    ) -> pb.StopHyperParameterTuningJobResponse:
        """Record the wish to stop a tuning job; its trials are told, and end, afterwards."""
        check_request(request)
        name = request.hyper_parameter_tuning_job_name
        await self._jobs.stop(name, request_id=request_id)
        return pb.StopHyperParameterTuningJobResponse()

    async def DeleteHyperParameterTuningJob(
        self, request: pb.DeleteHyperParameterTuningJobRequest, request_id: str | None
    ) -> pb.DeleteHyperParameterTuningJobResponse:
        """Delete an ended tuning job; training jobs and artifacts stay."""
        check_request(request)
        await self._jobs.delete(request.hyper_parameter_tuning_job_name, request_id=request_id)
        return pb.DeleteHyperParameterTuningJobResponse()

    async def ListTrainingJobsForHyperParameterTuningJob(
        self,
        request: training_pb.ListTrainingJobsForHyperParameterTuningJobRequest,
        request_id: str | None,
    ) -> training_pb.ListTrainingJobsForHyperParameterTuningJobResponse:
        """List a tuning job's training jobs, a page at a time."""
        check_request(request)
        stored = await self._jobs.read(request.hyper_parameter_tuning_job_name)
        query = queries.training_jobs_of(request, stored.job.job_id)
        if query is None:
            return training_pb.ListTrainingJobsForHyperParameterTuningJobResponse()
        page = await self._store.list_trials(query)
        summaries = [self._messages.training_job_of_tuning_job(item) for item in page.items]
        return training_pb.ListTrainingJobsForHyperParameterTuningJobResponse(
            training_job_summaries=summaries, next_token=paging.next_token(request, page.next)
        )

    async def DescribeTrainingJob(
        self, request: training_pb.DescribeTrainingJobRequest, request_id: str | None
    ) -> training_pb.DescribeTrainingJobResponse:
        """Describe a training job."""
        check_request(request)
        stored = await self._store.trial(request.training_job_name)
        if stored is None:
            raise TrainingJobNotFound(request.training_job_name)
        return self._messages.training_job(stored)

    async def ListTrainingJobs(
        self, request: training_pb.ListTrainingJobsRequest, request_id: str | None
    ) -> training_pb.ListTrainingJobsResponse:
        """List training jobs of all tuning jobs, a page at a time."""
        check_request(request)
        query = queries.training_jobs(request)
        if query is None:
            return training_pb.ListTrainingJobsResponse()
        page = await self._store.list_trials(query)
        summaries = [self._messages.training_job_summary(stored) for stored in page.items]
        return training_pb.ListTrainingJobsResponse(
            training_job_summaries=summaries, next_token=paging.next_token(request, page.next)
        )

    async def StopTrainingJob(
        self, request: training_pb.StopTrainingJobRequest, request_id: str | None
    ) -> training_pb.StopTrainingJobResponse:
        """Record the wish to stop a training job; its runner is told afterwards."""
        check_request(request)
        await self._jobs.stop_training_job(request.training_job_name, request_id=request_id)
        return training_pb.StopTrainingJobResponse()

    async def DeleteTrainingJob(
        self, request: training_pb.DeleteTrainingJobRequest, request_id: str | None
    ) -> training_pb.DeleteTrainingJobResponse:
        """Delete an ended training job; its artifacts and its tuning job stay."""
        check_request(request)
        await self._jobs.delete_training_job(request.training_job_name, request_id=request_id)
        return training_pb.DeleteTrainingJobResponse()

    async def AddTags(
        self, request: pb.AddTagsRequest, request_id: str | None
    ) -> pb.AddTagsResponse:
        """Add tags to a resource, or overwrite them by key."""
        check_request(request)
        added = {tag.key: tag.value for tag in request.tags}
        tags = await self._store.add_tags(request.resource_arn, added, limit=MAX_TAGS)
        return pb.AddTagsResponse(
            tags=[tag_pb2.Tag(key=key, value=value) for key, value in tags.items()]
        )

    async def ListTags(
        self, request: pb.ListTagsRequest, request_id: str | None
    ) -> pb.ListTagsResponse:
        """List a resource's tags: at most 50, and so always one page."""
        check_request(request)
        if request.next_token:
            raise InvalidPagingToken("a resource's tags fit one page, which has no next")
        tags = await self._store.tags(request.resource_arn)
        if tags is None:
            raise ResourceNotFound(f"There is no resource {request.resource_arn}.")
        return pb.ListTagsResponse(
            tags=[tag_pb2.Tag(key=key, value=value) for key, value in tags.items()]
        )

    async def DeleteTags(
        self, request: pb.DeleteTagsRequest, request_id: str | None
    ) -> pb.DeleteTagsResponse:
        """Remove tags from a resource; keys that it lacks are no error."""
        check_request(request)
        await self._store.delete_tags(request.resource_arn, request.tag_keys)
        return pb.DeleteTagsResponse()
