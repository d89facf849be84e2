"""The calls of one server, through the generated stubs, with deadlines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Self, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from tests.e2e.harness import open_channel
from tunesmith.v1 import event_pb2, training_job_pb2, tuning_service_pb2_grpc
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb

Answer = TypeVar("Answer")

#: Of one call; generous, for a machine under load.
CALL_S: Final = 30.0
#: Of a whole tuning job.
JOB_S: Final = 120.0

Event = event_pb2.WatchHyperParameterTuningJobResponse

IN_PROGRESS: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_STATUS_IN_PROGRESS
COMPLETED: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED
FAILED: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_STATUS_FAILED
STOPPED: Final = job_pb.HYPER_PARAMETER_TUNING_JOB_STATUS_STOPPED
TERMINAL: Final = frozenset({COMPLETED, FAILED, STOPPED})


class Refused(Exception):
    """A call's status with its details, easy to look at."""

    def __init__(self, error: grpc.RpcError) -> None:
        call = cast("grpc.Call", error)  # which every error of a call is
        self.code: grpc.StatusCode = call.code()
        self.text: str = call.details() or ""
        self.reason = ""
        self.fields: list[str] = []
        self.request_id = ""
        status = rpc_status.from_call(call)
        for detail in status.details if status is not None else ():
            for kind in (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RequestInfo(),
            ):
                if detail.Unpack(kind):
                    self._read(kind)
        super().__init__(f"{self.code.name} {self.reason}: {self.text}")

    def _read(self, detail: Message) -> None:
        if isinstance(detail, error_details_pb2.ErrorInfo):
            self.reason = detail.reason
        elif isinstance(detail, error_details_pb2.BadRequest):
            self.fields = [violation.field for violation in detail.field_violations]
        elif isinstance(detail, error_details_pb2.RequestInfo):
            self.request_id = detail.request_id


class Calls:
    """Call a server; refusals come as ``Refused``."""

    def __init__(self, address: str) -> None:
        self.channel = open_channel(address)
        self.stub = tuning_service_pb2_grpc.TuningServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def create(
        self, request: pb.CreateHyperParameterTuningJobRequest, *, request_id: str | None = None
    ) -> str:
        answer = refusing(
            lambda: self.stub.CreateHyperParameterTuningJob(
                request, timeout=CALL_S, metadata=_metadata(request_id)
            )
        )
        return answer.hyper_parameter_tuning_job_arn

    def describe(self, name: str) -> pb.DescribeHyperParameterTuningJobResponse:
        request = pb.DescribeHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name)
        return refusing(lambda: self.stub.DescribeHyperParameterTuningJob(request, timeout=CALL_S))

    def stop(self, name: str, *, request_id: str | None = None) -> None:
        request = pb.StopHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name)
        refusing(
            lambda: self.stub.StopHyperParameterTuningJob(
                request, timeout=CALL_S, metadata=_metadata(request_id)
            )
        )

    def delete(self, name: str) -> None:
        request = pb.DeleteHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name)
        refusing(lambda: self.stub.DeleteHyperParameterTuningJob(request, timeout=CALL_S))

    def stop_training_job(self, name: str) -> None:
        request = training_pb.StopTrainingJobRequest(training_job_name=name)
        refusing(lambda: self.stub.StopTrainingJob(request, timeout=CALL_S))

    def delete_training_job(self, name: str) -> None:
        request = training_pb.DeleteTrainingJobRequest(training_job_name=name)
        refusing(lambda: self.stub.DeleteTrainingJob(request, timeout=CALL_S))

    def training_job(self, name: str) -> training_pb.DescribeTrainingJobResponse:
        request = training_pb.DescribeTrainingJobRequest(training_job_name=name)
        return refusing(lambda: self.stub.DescribeTrainingJob(request, timeout=CALL_S))

    def training_jobs(
        self,
        name: str,
        request: training_pb.ListTrainingJobsForHyperParameterTuningJobRequest | None = None,
    ) -> list[job_pb.HyperParameterTrainingJobSummary]:
        """List a tuning job's training jobs over all pages."""
        page = training_pb.ListTrainingJobsForHyperParameterTuningJobRequest(max_results=100)
        if request is not None:
            page.CopyFrom(request)
        page.hyper_parameter_tuning_job_name = name
        found: list[job_pb.HyperParameterTrainingJobSummary] = []
        while True:
            answer = refusing(
                lambda: self.stub.ListTrainingJobsForHyperParameterTuningJob(page, timeout=CALL_S)
            )
            found += answer.training_job_summaries
            if not answer.next_token:
                return found
            page.next_token = answer.next_token

    def watch(self, name: str, *, after: int = 0, timeout_s: float = JOB_S) -> Iterator[Event]:
        """Give events until the tuning job has ended; ``Refused`` when the server goes away."""
        request = event_pb2.WatchHyperParameterTuningJobRequest(
            hyper_parameter_tuning_job_name=name, after_sequence=after
        )
        call = self.stub.WatchHyperParameterTuningJob(request, timeout=timeout_s)
        try:
            yield from call
        except grpc.RpcError as error:
            raise Refused(error) from None
        finally:
            call.cancel()

    def watch_until(
        self, name: str, holds: Callable[[Event], bool], *, after: int = 0
    ) -> list[Event]:
        """Give the events up to the first for which something holds."""
        seen: list[Event] = []
        for event in self.watch(name, after=after):
            seen.append(event)
            if holds(event):
                return seen
        raise AssertionError(f"{name} ended before that: {seen[-3:]}")

    def watch_to_end(self, name: str, *, after: int = 0) -> list[Event]:
        """Give the events until the tuning job has ended."""
        return list(self.watch(name, after=after))

    def is_serving(self) -> bool:
        check = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = check(health_pb2.HealthCheckRequest(), timeout=CALL_S)
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def refusing(call: Callable[[], Answer]) -> Answer:
    """Make a call, and raise what it is refused with as ``Refused``."""
    try:
        return call()
    except grpc.RpcError as error:
        raise Refused(error) from None


def trial_runs(event: Event) -> bool:
    """Tell whether an event says that a trial's program runs."""
    return event.training_job.secondary_status == training_job_pb2.SECONDARY_STATUS_TRAINING


def _metadata(request_id: str | None) -> tuple[tuple[str, str], ...]:
    return () if request_id is None else (("tunesmith-request-id", request_id),)
