"""The front for AWS clients by itself: what it calls, what it bounds, what it says of bugs."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.message import Message

from tests.server.http.asgi import HEADERS, Answer, post
from tunesmith.v1 import tuning_service_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import StoreUnavailable
from tunesmith_server.http import front
from tunesmith_server.http.front import AwsJsonFront, operations_of
from tunesmith_server.http.serving import MAX_HEAD_BYTES
from tunesmith_server.operations.tuning import TuningOperations

SERVICE = tuning_service_pb2.DESCRIPTOR.services_by_name["TuningService"]


class Operations(SimpleNamespace):
    """Stand in for all operations; each answers with an empty message, or fails as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Message, str | None]] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Semaphore(0)

    def violations(self, _request: Message) -> tuple[()]:
        return ()

    def __getattr__(self, name: str) -> Any:
        if name not in {method.name for method in SERVICE.methods}:
            raise AttributeError(name)

        async def call(request: Message, request_id: str | None) -> Message:
            self.asked.append((name, request, request_id))
            self.arrived.release()
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            answer: Message = pb.ListHyperParameterTuningJobsResponse()
            return answer

        return call


@pytest.fixture
async def operations() -> Operations:
    return Operations()


@pytest.fixture
def app(operations: Operations) -> Any:
    made = AwsJsonFront(
        operations=cast("TuningOperations", operations),
        access_keys={},
        clock=lambda: datetime.now(UTC),
    )
    return made.app()


def test_every_call_of_the_service_but_its_stream_is_an_operation_of_both_fronts() -> None:
    names = {method.name for method in SERVICE.methods if not method.server_streaming}
    assert names <= set(dir(TuningOperations))
    found = operations_of(cast("TuningOperations", Operations()))
    assert set(found) == names
    assert all(found[name].request_type.DESCRIPTOR.name == f"{name}Request" for name in names)


async def test_a_call_reaches_its_operation_with_its_request(
    operations: Operations, app: Any
) -> None:
    answer = await post(app, [b'{"MaxRes', b'ults": 7}'])
    assert (answer.status, json.loads(answer.body)) == (
        200,
        {"HyperParameterTuningJobSummaries": []},
    )
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-amzn-requestid"])
    assert operations.asked == [
        (
            "ListHyperParameterTuningJobs",
            pb.ListHyperParameterTuningJobsRequest(max_results=7),
            None,
        )
    ]


@pytest.mark.parametrize(("sent", "passed"), [("id-1", "id-1"), ("", None), ("x" * 129, None)])
async def test_the_clients_invocation_is_the_idempotency_key(
    operations: Operations, app: Any, sent: str, passed: str | None
) -> None:
    await post(app, headers={**HEADERS, "amz-sdk-invocation-id": sent})
    assert [key for _, _, key in operations.asked] == [passed]


async def test_a_bug_is_logged_under_the_request_id_and_not_told(
    operations: Operations, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    operations.error = KeyError("a secret")
    with caplog.at_level(logging.ERROR):
        answer = await post(app)
    assert answer.status == 500
    told = json.loads(answer.body)
    request_id = answer.headers["x-amzn-requestid"]
    assert told == {
        "__type": "InternalFailure",
        "message": f"Internal failure; request id {request_id}.",
    }
    (record,) = caplog.records
    assert request_id in record.getMessage()
    assert record.exc_info is not None


async def test_what_the_store_could_not_do_is_a_failure_that_clients_repeat(
    operations: Operations, app: Any
) -> None:
    operations.error = StoreUnavailable("the disk is full")
    answer = await post(app)
    assert answer.status == 500
    assert answer.headers["x-amzn-errortype"] == "InternalFailure"
    assert json.loads(answer.body)["message"] == "the disk is full"


async def test_calls_beyond_the_limit_are_throttled_at_once_and_the_others_go_on(
    operations: Operations, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "MAX_CALLS", 2)
    operations.gate.clear()
    first = [asyncio.create_task(post(app)) for _ in range(2)]
    for _ in first:
        await operations.arrived.acquire()
    throttled = await post(app)
    assert throttled.status == 400
    assert json.loads(throttled.body)["__type"] == "ThrottlingException"
    operations.gate.set()
    assert [answer.status for answer in await asyncio.gather(*first)] == [200, 200]
    assert (await post(app)).status == 200


async def test_a_long_body_is_read_beside_other_calls(app: Any) -> None:
    keys = ",".join(f'"k{number}":{{}}' for number in range(100_000))
    long = asyncio.create_task(post(app, [b"{" + keys.encode() + b"}"]))
    await asyncio.sleep(0)
    short = await post(app)
    assert short.status == 200
    assert not long.done()
    answer = await long
    assert json.loads(answer.body)["__type"] == "ValidationException"


async def test_nothing_is_read_for_those_who_name_no_key_of_the_site(
    operations: Operations,
) -> None:
    guarded = AwsJsonFront(
        operations=cast("TuningOperations", operations),
        access_keys={"AKIDLAB": "a-secret-of-the-lab"},
        clock=lambda: datetime.now(UTC),
    ).app()
    async with asyncio.timeout(5):
        answer = await post(guarded, [])  # whose body never comes
    assert json.loads(answer.body)["__type"] == "MissingAuthenticationTokenException"


async def test_a_caller_that_leaves_in_the_midst_of_its_body_leaves_nothing_behind(
    operations: Operations, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await post(app, [b"{"], leaves=True)
    assert operations.asked == []
    assert caplog.records == []
    assert (await post(app)).status == 200


def refused(answer: Answer, *, status: int = 400) -> tuple[str, str]:
    """Give the name and the message of an answer that refuses in AWS's form."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-amzn-requestid"])
    told = json.loads(answer.body)
    assert set(told) == {"__type", "message"}
    assert answer.headers["x-amzn-errortype"] == told["__type"]
    return told["__type"], told["message"]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("content-type", "text/plain"),
        ("content-type", HEADERS["content-type"]),
        ("x-amz-target", "SageMaker.DeleteTags"),
    ],
)
async def test_what_is_asked_is_said_once(
    app: Any, operations: Operations, header: str, value: str
) -> None:
    name, message = refused(await post(app, more_headers=[(header, value)]))
    assert name == "SerializationException"
    assert header in message
    assert operations.asked == []


async def test_a_body_with_two_ends_is_refused_and_its_connection_closed(
    app: Any, operations: Operations
) -> None:
    two = [("content-length", "2"), ("transfer-encoding", "chunked")]
    answer = await post(app, more_headers=two)
    assert "Content-Length" in refused(answer)[1]
    assert answer.headers["connection"] == "close"
    assert operations.asked == []
    for one in two:
        answer = await post(app, more_headers=[one])
        assert answer.status == 200
        assert "connection" not in answer.headers


async def test_the_limit_of_a_head_is_strict(app: Any, operations: Operations) -> None:
    taken = sum(len(name) + len(value) + 4 for name, value in HEADERS.items()) + len("/x: \r\n")
    fits = [("x", "y" * (MAX_HEAD_BYTES - taken))]
    assert (await post(app, more_headers=fits)).status == 200
    for many in ([("x", fits[0][1] + "y")], [("x", "y")] * 20_000):
        name, message = refused(await post(app, more_headers=many))
        assert (name, str(MAX_HEAD_BYTES) in message) == ("SerializationException", True)
    assert len(operations.asked) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/elsewhere", 404), ("GET", "/", 405), ("PUT", "/", 405)],
)
async def test_what_is_no_call_is_refused_in_awss_form(
    app: Any, method: str, path: str, status: int
) -> None:
    answer = await post(app, method=method, path=path)
    name, message = refused(answer, status=status)
    assert name == "UnknownOperationException"
    assert "POST" in message
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)
