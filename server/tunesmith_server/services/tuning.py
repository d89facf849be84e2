"""TuningService over gRPC: each call is the operation of its name; the watch is gRPC's alone."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tunesmith.v1 import event_pb2, tuning_service_pb2_grpc
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.validation import check_request
from tunesmith_server.engine.jobs import Jobs
from tunesmith_server.engine.watch import Watch
from tunesmith_server.operations.tuning import TuningOperations
from tunesmith_server.services.interceptors import Context, request_id


class TuningService(tuning_service_pb2_grpc.TuningServiceServicer):
    """Answer the calls of TuningService; the contract's comments say what each does."""

    def __init__(self, *, operations: TuningOperations, jobs: Jobs, watch: Watch) -> None:
        self._operations = operations
        self._jobs = jobs
        self._watch = watch

    async def WatchHyperParameterTuningJob(
        self, request: event_pb2.WatchHyperParameterTuningJobRequest, context: Context
    ) -> AsyncIterator[event_pb2.WatchHyperParameterTuningJobResponse]:
        """Stream a tuning job's events, all or those asked for, until it has ended."""
        check_request(request)
        stored = await self._jobs.read(request.hyper_parameter_tuning_job_name)
        async for event in self._watch.events(
            stored.job.job_id,
            after=request.after_sequence,
            trial_name=request.training_job_name or None,
            kinds=frozenset(request.event_kinds),
        ):
            yield event

    async def CreateHyperParameterTuningJob(
        self, request: pb.CreateHyperParameterTuningJobRequest, context: Context
    ) -> pb.CreateHyperParameterTuningJobResponse:
        """Create a tuning job; it is durable when this returns."""
        return await self._operations.CreateHyperParameterTuningJob(request, request_id(context))

    async def DescribeHyperParameterTuningJob(
        self, request: pb.DescribeHyperParameterTuningJobRequest, context: Context
    ) -> pb.DescribeHyperParameterTuningJobResponse:
        """Describe a tuning job."""
        return await self._operations.DescribeHyperParameterTuningJob(request, request_id(context))

    async def ListHyperParameterTuningJobs(
        self, request: pb.ListHyperParameterTuningJobsRequest, context: Context
    ) -> pb.ListHyperParameterTuningJobsResponse:
        """List tuning jobs, a page at a time."""
        return await self._operations.ListHyperParameterTuningJobs(request, request_id(context))

    async def StopHyperParameterTuningJob(
        self, request: pb.StopHyperParameterTuningJobRequest, context: Context
    ) -> pb.StopHyperParameterTuningJobResponse:
        """Record the wish to stop a tuning job."""
        return await self._operations.StopHyperParameterTuningJob(request, request_id(context))

    async def DeleteHyperParameterTuningJob(
        self, request: pb.DeleteHyperParameterTuningJobRequest, context: Context
    ) -> pb.DeleteHyperParameterTuningJobResponse:
        """Delete an ended tuning job."""
        return await self._operations.DeleteHyperParameterTuningJob(request, request_id(context))

    async def ListTrainingJobsForHyperParameterTuningJob(
        self,
        request: training_pb.ListTrainingJobsForHyperParameterTuningJobRequest,
        context: Context,
    ) -> training_pb.ListTrainingJobsForHyperParameterTuningJobResponse:
        """List a tuning job's training jobs, a page at a time."""
        return await self._operations.ListTrainingJobsForHyperParameterTuningJob(
            request, request_id(context)
        )

    async def DescribeTrainingJob(
        self, request: training_pb.DescribeTrainingJobRequest, context: Context
    ) -> training_pb.DescribeTrainingJobResponse:
        """Describe a training job."""
        return await self._operations.DescribeTrainingJob(request, request_id(context))

    async def ListTrainingJobs(
        self, request: training_pb.ListTrainingJobsRequest, context: Context
    ) -> training_pb.ListTrainingJobsResponse:
        """List training jobs of all tuning jobs, a page at a time."""
        return await self._operations.ListTrainingJobs(request, request_id(context))

    async def StopTrainingJob(
        self, request: training_pb.StopTrainingJobRequest, context: Context
    ) -> training_pb.StopTrainingJobResponse:
        """Record the wish to stop a training job."""
        return await self._operations.StopTrainingJob(request, request_id(context))

    async def DeleteTrainingJob(
        self, request: training_pb.DeleteTrainingJobRequest, context: Context
    ) -> training_pb.DeleteTrainingJobResponse:
        """Delete an ended training job."""
        return await self._operations.DeleteTrainingJob(request, request_id(context))

    async def AddTags(self, request: pb.AddTagsRequest, context: Context) -> pb.AddTagsResponse:
        """Add tags to a resource, or overwrite them by key."""
        return await self._operations.AddTags(request, request_id(context))

    async def ListTags(self, request: pb.ListTagsRequest, context: Context) -> pb.ListTagsResponse:
        """List a resource's tags."""
        return await self._operations.ListTags(request, request_id(context))

    async def DeleteTags(
        self, request: pb.DeleteTagsRequest, context: Context
    ) -> pb.DeleteTagsResponse:
        """Remove tags from a resource."""
        return await self._operations.DeleteTags(request, request_id(context))
