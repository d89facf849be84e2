"""The clients against a scripted service: asynchronous, and synchronous over it."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

import tunesmith
from tests.clients.fake_tuning_service import (
    Abort,
    FakeTuningService,
    refused,
    serving,
    serving_in_thread,
    unavailable,
)
from tunesmith.calls import CallSettings
from tunesmith.v1 import (
    event_pb2,
    tag_pb2,
    training_job_operations_pb2,
    tuning_job_pb2,
    tuning_service_pb2,
)
from tunesmith.v1.event_pb2 import TuningJobChanged
from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse as Event

QUICK = CallSettings(
    deadline_s=5.0, retries=3, backoff_s=0.001, backoff_max_s=0.002, watch_s=5.0, outage_s=0.2
)
COMPLETED = tuning_job_pb2.HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED
IN_PROGRESS = tuning_job_pb2.HYPER_PARAMETER_TUNING_JOB_STATUS_IN_PROGRESS
CREATED = tuning_service_pb2.CreateHyperParameterTuningJobResponse(
    hyper_parameter_tuning_job_arn="arn:aws:sagemaker:local:0:hyper-parameter-tuning-job/a"
)
STOPPED = tuning_service_pb2.StopHyperParameterTuningJobResponse()
DESCRIBED = tuning_service_pb2.DescribeHyperParameterTuningJobResponse(
    hyper_parameter_tuning_job_name="a", hyper_parameter_tuning_job_status=COMPLETED
)
CREATE = "CreateHyperParameterTuningJob"
STOP = "StopHyperParameterTuningJob"
DESCRIBE = "DescribeHyperParameterTuningJob"
LIST = "ListHyperParameterTuningJobs"


@pytest.fixture
def service() -> FakeTuningService:
    return FakeTuningService()


@pytest.fixture
async def client(service: FakeTuningService) -> AsyncIterator[tunesmith.aio.AsyncClient]:
    async with serving(service) as address, tunesmith.aio.connect(address, settings=QUICK) as it:
        yield it


@pytest.fixture
def sync_client(service: FakeTuningService) -> Iterator[tunesmith.Client]:
    with serving_in_thread(service) as address, tunesmith.connect(address, settings=QUICK) as it:
        yield it


def event(sequence: int, status: int = IN_PROGRESS) -> Event:
    changed = TuningJobChanged(hyper_parameter_tuning_job_status=status)  # type: ignore[arg-type]
    return Event(sequence=sequence, tuning_job=changed)


async def test_create_takes_sagemakers_request_as_a_dict_and_gives_a_handle(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers[CREATE] = [CREATED]
    job = await client.create({"HyperParameterTuningJobName": "a", "Tags": [{"Key": "k"}]})
    assert (job.name, job.arn) == ("a", CREATED.hyper_parameter_tuning_job_arn)
    assert service.calls[0].request == tuning_service_pb2.CreateHyperParameterTuningJobRequest(
        hyper_parameter_tuning_job_name="a", tags=[tag_pb2.Tag(key="k")]
    )


async def test_create_takes_the_message_and_leaves_it_alone(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers[CREATE] = [CREATED]
    request = tuning_service_pb2.CreateHyperParameterTuningJobRequest(
        hyper_parameter_tuning_job_name="a"
    )
    assert (await client.create(request)).name == "a"
    with pytest.raises(TypeError, match="takes a CreateHyperParameterTuningJobRequest"):
        await client.create(tuning_service_pb2.ListTagsRequest())


async def test_a_request_that_is_no_request_is_refused_before_it_is_sent(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    with pytest.raises(tunesmith.InvalidRequest) as refusal:
        await client.create({"Name": "a", "Tags": 1})
    assert [violation.path for violation in refusal.value.violations] == ["Name", "Tags"]
    assert service.calls == []


async def test_a_changing_call_is_repeated_under_the_same_request_id(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers[STOP] = [unavailable(), unavailable(), STOPPED]
    await client.stop("a")
    await client.stop("a")
    ids = [call.metadata["tunesmith-request-id"] for call in service.calls]
    assert ids[0] == ids[1] == ids[2] != ids[3]


async def test_a_given_request_id_is_used(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers[CREATE] = [CREATED]
    await client.create({}, request_id="mine")
    assert service.calls[0].metadata["tunesmith-request-id"] == "mine"


async def test_a_reading_call_carries_no_request_id(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers[DESCRIBE] = [unavailable(), DESCRIBED]
    assert await client.describe("a") == DESCRIBED
    assert all("tunesmith-request-id" not in call.metadata for call in service.calls)


async def test_repetition_has_a_limit(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers[STOP] = [unavailable()]
    with pytest.raises(tunesmith.ServerUnavailable, match=f"answers at {client.address}"):
        await client.stop("a")
    assert len(service.calls) == 1 + QUICK.retries


async def test_only_an_unavailable_server_is_asked_again(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers[STOP] = [refused(grpc.StatusCode.ABORTED, "ConflictException"), STOPPED]
    with pytest.raises(tunesmith.Conflict):
        await client.stop("a")
    assert len(service.calls) == 1


async def test_every_call_has_a_deadline(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers[DESCRIBE] = [DESCRIBED]
    service.streams = [[event(1, COMPLETED)]]
    await client.describe("a")
    assert [seen async for seen in client.watch("a")]
    assert all(call.time_left_s is not None and call.time_left_s < 6.0 for call in service.calls)


async def test_a_server_that_does_not_answer_ends_in_deadline_exceeded(
    service: FakeTuningService,
) -> None:
    service.answers[DESCRIBE] = [TimeoutError()]
    settings = CallSettings(deadline_s=0.1)
    async with serving(service) as address, tunesmith.aio.connect(address, settings=settings) as it:
        with pytest.raises(tunesmith.DeadlineExceeded, match=f"at {address} did not answer"):
            await it.describe("a")


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "ValidationException", tunesmith.InvalidRequest),
        (grpc.StatusCode.NOT_FOUND, "ResourceNotFound", tunesmith.ResourceNotFound),
        (grpc.StatusCode.NOT_FOUND, "ValidationException", tunesmith.ResourceNotFound),
        (grpc.StatusCode.ALREADY_EXISTS, "ResourceInUse", tunesmith.ResourceInUse),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "ResourceLimitExceeded",
            tunesmith.ResourceLimitExceeded,
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "ThrottlingException", tunesmith.Throttled),
        (grpc.StatusCode.FAILED_PRECONDITION, "ValidationException", tunesmith.InvalidState),
        (grpc.StatusCode.ABORTED, "ConflictException", tunesmith.Conflict),
        (grpc.StatusCode.UNIMPLEMENTED, "ValidationException", tunesmith.NotServed),
        (grpc.StatusCode.PERMISSION_DENIED, "AccessDeniedException", tunesmith.AccessDenied),
        (grpc.StatusCode.INTERNAL, "InternalFailure", tunesmith.ServerFailure),
        (grpc.StatusCode.DATA_LOSS, "InternalFailure", tunesmith.ServerFailure),
    ],
)
async def test_a_status_becomes_one_error_with_sagemakers_name_and_the_message(
    service: FakeTuningService,
    client: tunesmith.aio.AsyncClient,
    code: grpc.StatusCode,
    reason: str,
    kind: type[tunesmith.TunesmithError],
) -> None:
    service.answers[DESCRIBE] = [refused(code, reason)]
    with pytest.raises(kind, match=f"^because of {reason}$") as error:
        await client.describe("a")
    assert type(error.value) is kind
    assert error.value.reason == reason


async def test_details_of_a_status_are_the_errors_attributes(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    field_violation = error_details_pb2.BadRequest.FieldViolation
    service.answers[CREATE] = [
        refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "ValidationException",
            error_details_pb2.BadRequest(
                field_violations=[
                    field_violation(field="Tags[2].Key", description="too long"),
                    field_violation(field="", description="no space"),
                    field_violation(description="12 more violations are not shown."),
                ]
            ),
            error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2)),
            error_details_pb2.RequestInfo(request_id="r-1"),
        )
    ]
    with pytest.raises(tunesmith.InvalidRequest) as error:
        await client.create({})
    assert error.value.violations == (
        tunesmith.Violation(path="Tags[2].Key", message="too long"),
        tunesmith.Violation(path="", message="no space"),
    )
    assert error.value.left_out == 12
    assert (error.value.retry_after_s, error.value.request_id) == (2.0, "r-1")


async def test_an_error_may_say_much_more_than_grpc_takes_by_itself(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    many = error_details_pb2.BadRequest()
    for number in range(2000):
        many.field_violations.add(field=f"Tags[{number}].Key", description="too long" * 5)
    service.answers[CREATE] = [
        refused(grpc.StatusCode.INVALID_ARGUMENT, "ValidationException", many)
    ]
    with pytest.raises(tunesmith.InvalidRequest) as error:
        await client.create({})
    assert len(error.value.violations) == 2000
    assert service.calls[0].metadata["tunesmith-error-bytes"] == "262144"


async def test_a_reason_of_another_domain_is_not_taken_for_sagemakers(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    foreign = error_details_pb2.ErrorInfo(reason="API_DISABLED", domain="proxy.example")
    service.answers[DESCRIBE] = [Abort(grpc.StatusCode.NOT_FOUND, "no", foreign)]
    with pytest.raises(tunesmith.ResourceNotFound) as error:
        await client.describe("a")
    assert error.value.reason == ""


async def test_lists_go_over_all_pages(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    def page(name: str, token: str | None) -> Any:
        summary = tuning_job_pb2.HyperParameterTuningJobSummary(
            hyper_parameter_tuning_job_name=name
        )
        return tuning_service_pb2.ListHyperParameterTuningJobsResponse(
            hyper_parameter_tuning_job_summaries=[summary], next_token=token
        )

    service.answers[LIST] = [page("a", "t1"), page("b", "t2"), page("c", None)]
    listed = [summary async for summary in client.list({"NameContains": "x"})]
    assert [summary.hyper_parameter_tuning_job_name for summary in listed] == ["a", "b", "c"]
    assert [call.request.next_token for call in service.calls] == ["", "t1", "t2"]
    assert {call.request.name_contains for call in service.calls} == {"x"}


async def test_a_watch_goes_on_after_a_disconnect_where_it_was(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.streams = [
        [event(1), event(4), unavailable()],
        [unavailable()],
        [event(5), event(9, COMPLETED)],
    ]
    seen = [got.sequence async for got in client.watch("a")]
    assert seen == [1, 4, 5, 9]
    assert [call.request.after_sequence for call in service.calls] == [0, 4, 4]


async def test_a_watch_asks_for_what_is_wanted_each_time_it_is_opened(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.streams = [[event(1), unavailable()], [event(2, COMPLETED)]]
    events = client.job("a").watch(training_job_name="a-001-0000000a", kinds=("Log", "Metric"))
    assert [got.sequence async for got in events] == [1, 2]
    assert [call.request.training_job_name for call in service.calls] == ["a-001-0000000a"] * 2
    kinds = [event_pb2.WATCH_EVENT_KIND_LOG, event_pb2.WATCH_EVENT_KIND_METRIC]
    assert [list(call.request.event_kinds) for call in service.calls] == [kinds, kinds]
    with pytest.raises(tunesmith.InvalidRequest, match="'Logs'"):
        client.watch("a", kinds=["Logs"])


async def test_a_stream_that_reached_its_age_is_opened_anew(service: FakeTuningService) -> None:
    service.streams = [[event(1), TimeoutError(), event(2)], [event(2, COMPLETED)]]
    settings = CallSettings(watch_s=0.2)
    async with serving(service) as address, tunesmith.aio.connect(address, settings=settings) as it:
        assert [got.sequence async for got in it.watch("a")] == [1, 2]
    assert service.calls[1].request.after_sequence == 1


@pytest.mark.timeout(60)
async def test_a_watch_gives_up_when_the_server_stays_away(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.streams = [[event(1), unavailable()], *([[unavailable()]] * 5000)]
    with pytest.raises(tunesmith.ServerUnavailable):
        assert [got async for got in client.watch("a")]


async def test_a_watch_that_is_refused_ends_at_once(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.streams = [[refused(grpc.StatusCode.NOT_FOUND, "ResourceNotFound")]]
    with pytest.raises(tunesmith.ResourceNotFound):
        assert [got async for got in client.job("a").watch()]


async def test_wait_gives_the_job_as_it_ended(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.streams = [[event(1), event(2, COMPLETED)]]
    service.answers[DESCRIBE] = [DESCRIBED]
    assert await client.job("a").wait() == DESCRIBED


async def test_tags_are_a_dict(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    tags = [tag_pb2.Tag(key="a", value="1"), tag_pb2.Tag(key="b")]
    service.answers["ListTags"] = [tuning_service_pb2.ListTagsResponse(tags=tags)]
    service.answers["AddTags"] = [tuning_service_pb2.AddTagsResponse(tags=tags)]
    service.answers["DeleteTags"] = [tuning_service_pb2.DeleteTagsResponse()]
    assert await client.tags("arn") == {"a": "1", "b": ""}
    assert await client.add_tags("arn", {"a": "1"}) == {"a": "1", "b": ""}
    await client.delete_tags("arn", ["b"])
    assert list(service.calls[-1].request.tag_keys) == ["b"]


async def test_a_training_job_is_deleted_under_one_request_id(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    deleted = training_job_operations_pb2.DeleteTrainingJobResponse()
    service.answers["DeleteTrainingJob"] = [unavailable(), deleted]
    await client.delete_training_job("a-001-00000000")
    first, second = service.calls
    assert second.request.training_job_name == "a-001-00000000"
    assert first.metadata["tunesmith-request-id"] == second.metadata["tunesmith-request-id"]


def test_the_synchronous_client_deletes_a_training_job(
    service: FakeTuningService, sync_client: tunesmith.Client
) -> None:
    in_use = refused(grpc.StatusCode.FAILED_PRECONDITION, "ResourceInUse")
    deleted = training_job_operations_pb2.DeleteTrainingJobResponse()
    service.answers["DeleteTrainingJob"] = [in_use, deleted]
    with pytest.raises(tunesmith.InvalidState) as early:
        sync_client.delete_training_job("a-001-00000000")
    assert early.value.reason == "ResourceInUse"
    sync_client.delete_training_job("a-001-00000000")


async def test_any_operation_can_be_called_by_its_name(
    service: FakeTuningService, client: tunesmith.aio.AsyncClient
) -> None:
    service.answers["StopTrainingJob"] = [training_job_operations_pb2.StopTrainingJobResponse()]
    answer = await client.call("StopTrainingJob", {"TrainingJobName": "a-001-00000000"})
    assert answer == training_job_operations_pb2.StopTrainingJobResponse()
    assert "tunesmith-request-id" in service.calls[0].metadata
    with pytest.raises(tunesmith.NotServed, match="there are AddTags, Create"):
        await client.call("CreateCluster")


def test_the_synchronous_client_does_the_same(
    service: FakeTuningService, sync_client: tunesmith.Client
) -> None:
    service.answers = {CREATE: [CREATED], DESCRIBE: [DESCRIBED], STOP: [unavailable(), STOPPED]}
    service.streams = [[event(1), unavailable()], [event(2, COMPLETED)], [event(2, COMPLETED)]]
    job = sync_client.create({"HyperParameterTuningJobName": "a"})
    assert (job.name, job.arn) == ("a", CREATED.hyper_parameter_tuning_job_arn)
    assert [got.sequence for got in job.watch()] == [1, 2]
    assert job.wait() == DESCRIBED
    job.stop()
    with pytest.raises(tunesmith.InvalidRequest, match="did you mean"):
        sync_client.create({"HyperParameterTuningJobNam": "a"})


def test_a_synchronous_watch_may_be_left_early(
    service: FakeTuningService, sync_client: tunesmith.Client
) -> None:
    service.streams = [[event(1), TimeoutError(), event(2)]]
    for got in sync_client.watch("a"):
        assert got.sequence == 1
        break
    service.answers[DESCRIBE] = [DESCRIBED]
    assert sync_client.describe("a") == DESCRIBED


def test_a_synchronous_watch_gives_all_events_and_then_what_ended_it(
    service: FakeTuningService, sync_client: tunesmith.Client
) -> None:
    many = [event(number) for number in range(1, 5000)]
    service.streams = [[*many, refused(grpc.StatusCode.ABORTED, "ConflictException")]]
    events = sync_client.watch("a")
    assert [next(events).sequence for _ in many] == list(range(1, 5000))
    with pytest.raises(tunesmith.Conflict):
        next(events)


def test_a_client_that_is_closed_during_a_watch_leaves_nothing_running(
    service: FakeTuningService, sync_client: tunesmith.Client
) -> None:
    service.streams = [[event(1), TimeoutError(), event(2)]]
    events = sync_client.watch("a")
    assert next(events).sequence == 1
    sync_client.close()
    with pytest.raises(RuntimeError, match="connect anew"):
        next(events)


def test_a_closed_synchronous_client_says_so(sync_client: tunesmith.Client) -> None:
    sync_client.close()
    sync_client.close()
    with pytest.raises(RuntimeError, match="connect anew"):
        sync_client.describe("a")


def test_both_clients_have_the_same_methods() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(tunesmith.aio.AsyncClient) | {"wait"} == names(tunesmith.Client)
    assert names(tunesmith.aio.AsyncJob) == names(tunesmith.Job)


def test_pauses_between_repetitions_grow_to_a_limit_and_are_spread() -> None:
    from tunesmith.calls import Caller, Surroundings

    async def pauses() -> list[float]:
        caller = Caller(
            "127.0.0.1:1",
            settings=CallSettings(backoff_s=0.1, backoff_max_s=0.5),
            surroundings=Surroundings(rng=random.Random(1)),
        )
        try:
            return [caller._pause_s(attempt) for attempt in (0, 1, 2, 3, 10_000)]
        finally:
            await caller.close()

    longest = [0.1, 0.2, 0.4, 0.5, 0.5]
    found = asyncio.run(pauses())
    assert all(most / 2 <= pause <= most for pause, most in zip(found, longest, strict=True))
    assert len(set(found)) == len(found)
