"""What every call passes through, over a real loopback connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tunesmith.v1 import event_pb2, tuning_service_pb2_grpc
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import ResourceNotFound
from tunesmith_server.operations.limits import MAX_REQUEST_BYTES
from tunesmith_server.services.interceptors import (
    Context,
    ErrorInterceptor,
    request_id,
)

_DESCRIBE = "/tunesmith.v1.TuningService/DescribeHyperParameterTuningJob"
_WATCH = "/tunesmith.v1.TuningService/WatchHyperParameterTuningJob"
_LIST = "/tunesmith.v1.TuningService/ListHyperParameterTuningJobs"


class _Service(tuning_service_pb2_grpc.TuningServiceServicer):
    """Do what the tuning job's name says."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.left = asyncio.Event()

    async def DescribeHyperParameterTuningJob(  # noqa: N802 - gRPC's name
        self, request: pb.DescribeHyperParameterTuningJobRequest, context: Context
    ) -> pb.DescribeHyperParameterTuningJobResponse:
        match request.hyper_parameter_tuning_job_name:
            case "bug":
                raise ZeroDivisionError("the secret")
            case "missing":
                raise ResourceNotFound("there is none")
            case "talkative":
                raise ResourceNotFound("there is none, " * 1000)
            case "wait":
                self.began.set()
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    self.left.set()
                raise AssertionError("it is cancelled")
            case name:
                return pb.DescribeHyperParameterTuningJobResponse(
                    hyper_parameter_tuning_job_name=name,
                    failure_reason=request_id(context) or "",
                )

    async def WatchHyperParameterTuningJob(  # noqa: N802 - gRPC's name
        self, request: event_pb2.WatchHyperParameterTuningJobRequest, _: Context
    ) -> AsyncIterator[event_pb2.WatchHyperParameterTuningJobResponse]:
        yield event_pb2.WatchHyperParameterTuningJobResponse(sequence=1)
        if request.hyper_parameter_tuning_job_name == "missing":
            raise ResourceNotFound("gone in the meantime")
        self.began.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.left.set()


@pytest.fixture
def service() -> _Service:
    return _Service()  # type: ignore[abstract]  # the base class answers the other calls


@pytest.fixture
async def channel(service: _Service) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.max_receive_message_length", 4 * MAX_REQUEST_BYTES)]
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=options)
    tuning_service_pb2_grpc.add_TuningServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    taken = [("grpc.max_metadata_size", 64 * 1024)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", taken) as made:
        yield made
    await server.stop(None)


async def _call(
    channel: grpc.aio.Channel,
    method: str,
    data: bytes,
    *,
    metadata: tuple[tuple[str, str], ...] = (),
) -> bytes:
    call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
    return await call(data, metadata=metadata, timeout=10)


def _named(name: str) -> bytes:
    return pb.DescribeHyperParameterTuningJobRequest(
        hyper_parameter_tuning_job_name=name
    ).SerializeToString()


def _request_id_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.RequestInfo()
    assert any(packed.Unpack(info) for packed in status.details)
    found: str = info.request_id
    return found


async def test_an_answer_passes_as_it_is(channel: grpc.aio.Channel) -> None:
    answer = await _call(channel, _DESCRIBE, _named("job"))
    message = pb.DescribeHyperParameterTuningJobResponse.FromString(answer)
    assert message.hyper_parameter_tuning_job_name == "job"


async def test_a_raised_error_becomes_its_status(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _call(channel, _DESCRIBE, _named("missing"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "there is none"


async def test_a_bug_is_logged_under_the_request_id_that_the_caller_is_told(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as refused:
        await _call(channel, _DESCRIBE, _named("bug"))
    assert refused.value.code() is grpc.StatusCode.INTERNAL
    identity = _request_id_of(refused.value)
    assert refused.value.details() == f"Internal failure; request id {identity}."
    (record,) = [record for record in caplog.records if identity in record.getMessage()]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\xff"])
async def test_bytes_that_are_no_message_are_refused_in_words(
    channel: grpc.aio.Channel, data: bytes
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _call(channel, _DESCRIBE, data)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "could not be decoded" in (refused.value.details() or "")


async def test_a_request_that_is_too_long_is_refused_in_words(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _call(channel, _DESCRIBE, _named("n" * MAX_REQUEST_BYTES))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"must be at most {MAX_REQUEST_BYTES}" in (refused.value.details() or "")


async def test_a_caller_can_say_how_much_of_an_error_it_takes(channel: grpc.aio.Channel) -> None:
    lengths = [
        len(await _details(channel, metadata=metadata))
        for metadata in (
            (),
            (("tunesmith-error-bytes", "16384"),),
            (("tunesmith-error-bytes", "x"),),
        )
    ]
    assert lengths[0] == lengths[2] < lengths[1]


async def _details(channel: grpc.aio.Channel, *, metadata: tuple[tuple[str, str], ...]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _call(channel, _DESCRIBE, _named("talkative"), metadata=metadata)
    return refused.value.details() or ""


async def test_a_call_that_nobody_implements_says_so(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _call(channel, _LIST, b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert refused.value.details() == f"{_LIST} is not implemented in this release."


async def test_the_callers_request_id_is_its_own_and_in_its_errors(
    channel: grpc.aio.Channel,
) -> None:
    metadata = (("tunesmith-request-id", "mine"),)
    answer = await _call(channel, _DESCRIBE, _named("job"), metadata=metadata)
    assert pb.DescribeHyperParameterTuningJobResponse.FromString(answer).failure_reason == "mine"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _call(channel, _DESCRIBE, _named("missing"), metadata=metadata)
    assert _request_id_of(refused.value) == "mine"


async def test_a_request_id_beyond_its_length_is_refused(channel: grpc.aio.Channel) -> None:
    longest = (("tunesmith-request-id", "k" * 128),)
    await _call(channel, _DESCRIBE, _named("job"), metadata=longest)
    too_long = (("tunesmith-request-id", "k" * 129),)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _call(channel, _DESCRIBE, _named("job"), metadata=too_long)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "128" in (refused.value.details() or "")


async def test_an_error_in_the_middle_of_a_stream_becomes_its_status(
    channel: grpc.aio.Channel,
) -> None:
    stub = tuning_service_pb2_grpc.TuningServiceStub(channel)
    request = event_pb2.WatchHyperParameterTuningJobRequest(
        hyper_parameter_tuning_job_name="missing"
    )
    call = stub.WatchHyperParameterTuningJob(request, timeout=10)
    first = await call.read()  # type: ignore[attr-defined]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()  # type: ignore[attr-defined]
    assert first.sequence == 1
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "gone in the meantime"


async def test_a_caller_that_leaves_ends_its_handler(
    channel: grpc.aio.Channel, service: _Service
) -> None:
    call = channel.unary_unary(_DESCRIBE, request_serializer=bytes, response_deserializer=bytes)(
        _named("wait")
    )
    await service.began.wait()
    call.cancel()
    async with asyncio.timeout(10):
        await service.left.wait()


async def test_a_watcher_that_leaves_ends_its_handler(
    channel: grpc.aio.Channel, service: _Service
) -> None:
    call = channel.unary_stream(_WATCH, request_serializer=bytes, response_deserializer=bytes)(
        _named("x")
    )
    await call.read()
    await service.began.wait()
    call.cancel()
    async with asyncio.timeout(10):
        await service.left.wait()
