"""Whatever comes in, the answer is a clear error and the server goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from tests.e2e.calls import Calls, Refused, refusing
from tests.e2e.jobs import create_request
from tunesmith.v1 import (
    runner_service_pb2,
    sorting_pb2,
    suggestion_service_pb2,
    tuning_service_pb2,
)
from tunesmith.v1 import tuning_service_pb2 as pb

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("unharmed")]

_DESCRIBE: Final = "/tunesmith.v1.TuningService/DescribeHyperParameterTuningJob"
_MEGABYTES_10: Final = 10 * 2**20

_METHODS: Final[dict[str, MethodDescriptor]] = {
    f"/{service.full_name}/{method.name}": method
    for module in (tuning_service_pb2, suggestion_service_pb2, runner_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
_NAMED: Final = tuple(
    path
    for path, method in _METHODS.items()
    if "hyper_parameter_tuning_job_name" in method.input_type.fields_by_name
)

_REASONS = {"ValidationException", "SerializationException", "ResourceNotFound"}
_REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


def _send(channel: grpc.Channel, path: str, data: bytes, *, timeout_s: float = 30) -> None:
    """Send bytes as they are to a method; ``Refused`` unless they are accepted."""
    method = _METHODS[path]
    if method.client_streaming:
        both = channel.stream_stream(path, request_serializer=bytes, response_deserializer=bytes)
        refusing(lambda: list(both(iter([data]), timeout=timeout_s)))
    elif method.server_streaming:
        stream = channel.unary_stream(path, request_serializer=bytes, response_deserializer=bytes)
        refusing(lambda: list(stream(data, timeout=timeout_s)))
    else:
        unary = _raw(channel, path)
        refusing(lambda: unary(data, timeout=timeout_s))


def _raw(channel: grpc.Channel, path: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)


def _refusal(channel: grpc.Channel, path: str, data: bytes) -> Refused:
    with pytest.raises(Refused) as refused:
        _send(channel, path, data)
    return refused.value


def _assert_clear(refused: Refused) -> None:
    assert refused.code in _REFUSALS, refused
    assert refused.reason in _REASONS, refused
    assert refused.request_id
    assert 10 < len(refused.text) < 20_000


def _valid_create() -> pb.CreateHyperParameterTuningJobRequest:
    return create_request("fuzz", script=Path("/tmp/x.py"), output=Path("/tmp/out"))  # noqa: S108 - never opened


@pytest.mark.parametrize("path", _METHODS)
def test_random_bytes_are_refused_in_words(target_calls: Calls, path: str) -> None:
    rng = random.Random(path)
    blobs = [rng.randbytes(rng.choice([1, 3, 17, 200, 5000])) for _ in range(25)]
    # Groups within groups: what makes a recursive decoder fall over.
    blobs += [b"\x0b" * 50_000, b"\xff" * 1000, b"\x0a\xff\xff\xff\xff\x0f"]
    for blob in blobs:
        _assert_clear(_refusal(target_calls.channel, path, blob))


def test_a_create_request_with_flipped_bits_is_accepted_or_refused_in_words(
    target_calls: Calls,
) -> None:
    path = "/tunesmith.v1.TuningService/CreateHyperParameterTuningJob"
    whole, rng = _valid_create().SerializeToString(), random.Random(5)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            position = rng.randrange(len(data))
            data[position] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        try:
            _send(target_calls.channel, path, bytes(data))
        except Refused as refused:
            if refused.code is not grpc.StatusCode.ALREADY_EXISTS:
                _assert_clear(refused)


@pytest.mark.parametrize("path", _NAMED)
def test_a_member_that_the_contract_does_not_have_is_refused(
    target_calls: Calls, path: str
) -> None:
    unknown = b"\x0a\x03job" + b"\xfa\xff\x03\x02hi"  # field 8191, two bytes
    refused = _refusal(target_calls.channel, path, unknown)
    _assert_clear(refused)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "8191" in refused.text


@pytest.mark.parametrize("path", _NAMED)
def test_a_member_of_another_wire_type_is_refused(target_calls: Calls, path: str) -> None:
    number_for_name = b"\x08\x2a"  # field 1 as a varint
    refused = _refusal(target_calls.channel, path, number_for_name)
    _assert_clear(refused)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("path", _NAMED)
def test_text_that_is_not_utf8_is_refused(target_calls: Calls, path: str) -> None:
    refused = _refusal(target_calls.channel, path, b"\x0a\x04\xff\xfe\x80\xc0")
    _assert_clear(refused)
    assert "UTF-8" in refused.text


@pytest.mark.parametrize("path", _NAMED)
def test_a_name_of_ten_thousand_characters_is_refused_briefly(
    target_calls: Calls, path: str
) -> None:
    request = GetMessageClass(_METHODS[path].input_type)()
    setattr(request, "hyper_parameter_tuning_job_name", "n" * 10_000)  # noqa: B010 - any request
    refused = _refusal(target_calls.channel, path, request.SerializeToString())
    _assert_clear(refused)
    assert "HyperParameterTuningJobName" in refused.fields
    assert "less than or equal to 32" in refused.text
    assert len(refused.text) < 3000


@pytest.mark.parametrize("path", _METHODS)
def test_ten_megabytes_are_refused_in_words(target_calls: Calls, path: str) -> None:
    data = b"\x0a\x80\x80\x80\x05" + b"a" * _MEGABYTES_10
    refused = _refusal(target_calls.channel, path, data)
    _assert_clear(refused)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be at most 4194304" in refused.text


def test_what_is_far_too_large_is_not_even_read(target_calls: Calls) -> None:
    call = _raw(target_calls.channel, _DESCRIBE)
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(Refused) as refused:
            refusing(lambda: call(bytes(10 * _MEGABYTES_10), compression=compression))  # noqa: B023 - called at once
        assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_small_message_that_unpacks_to_a_large_one_is_refused(target_calls: Calls) -> None:
    call = _raw(target_calls.channel, _DESCRIBE)
    for _ in range(5):
        with pytest.raises(Refused) as refused:
            refusing(lambda: call(bytes(5 * _MEGABYTES_10), compression=grpc.Compression.Gzip))
        assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


_Create = pb.CreateHyperParameterTuningJobRequest
_COUNT: Final = 100_000


def _tags(request: _Create) -> None:
    for _ in range(_COUNT):
        request.tags.add()


def _container_arguments(request: _Create) -> None:
    specification = request.training_job_definition.algorithm_specification
    specification.container_arguments.extend(["a"] * _COUNT)


def _metric_definitions(request: _Create) -> None:
    specification = request.training_job_definition.algorithm_specification
    for number in range(_COUNT):
        specification.metric_definitions.add(name=str(number), regex="(.)")


def _categorical_parameter_ranges(request: _Create) -> None:
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    for number in range(_COUNT):
        ranges.categorical_parameter_ranges.add(name=str(number), values=["1", "2"])


def _values(request: _Create) -> None:
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    ranges.categorical_parameter_ranges.add(name="c", values=map(str, range(_COUNT)))


def _static_hyper_parameters(request: _Create) -> None:
    for number in range(_COUNT):
        request.training_job_definition.static_hyper_parameters[str(number)] = "v"


def _training_job_definitions(request: _Create) -> None:
    for _ in range(_COUNT):
        request.training_job_definitions.add()


@pytest.mark.parametrize(
    ("fill", "member"),
    [
        (_tags, "Tags"),
        (_container_arguments, "ContainerArguments"),
        (_metric_definitions, "MetricDefinitions"),
        (_categorical_parameter_ranges, "CategoricalParameterRanges"),
        (_values, "Values"),
        (_static_hyper_parameters, "StaticHyperParameters"),
        (_training_job_definitions, "TrainingJobDefinitions"),
    ],
)
def test_a_list_of_a_hundred_thousand_is_refused_soon(
    target_calls: Calls, fill: Callable[[_Create], None], member: str
) -> None:
    request = _valid_create()
    fill(request)
    with pytest.raises(Refused) as refused:
        target_calls.create(request)
    _assert_clear(refused.value)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert any(field.endswith(member) for field in refused.value.fields)


def test_many_faults_at_once_still_arrive_as_a_clear_refusal(target_calls: Calls) -> None:
    """Details travel in the trailers, of which clients take a few kilobytes only."""
    request = _valid_create()
    request.hyper_parameter_tuning_job_name = "-" * 5000
    for _ in range(50):
        request.tags.add(key="\t" * 1000, value="\t" * 1000)
    definition = request.training_job_definition
    for number in range(100):
        definition.static_hyper_parameters[f"{number}" + "k" * 300] = "v" * 3000
        definition.environment[f"{number}-{'k' * 600}"] = "v" * 600
    for _ in range(40):
        definition.algorithm_specification.metric_definitions.add(name="", regex="(" * 501)
    with pytest.raises(Refused) as refused:
        target_calls.create(request)
    _assert_clear(refused.value)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "HyperParameterTuningJobName" in refused.value.fields


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!",
        "bm90anNvbg==",
        "W10=",
        "WzEsMl0=",
        "W251bGwsIG51bGwsIG51bGxd",
        "A" * 8192,
        "\u00e9",
    ],
)
def test_a_token_that_was_not_issued_is_refused(target_calls: Calls, token: str) -> None:
    request = pb.ListHyperParameterTuningJobsRequest(next_token=token)
    with pytest.raises(Refused) as refused:
        refusing(lambda: target_calls.stub.ListHyperParameterTuningJobs(request, timeout=10))
    _assert_clear(refused.value)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.fields == ["NextToken"]


def test_a_token_of_another_query_is_refused(target_calls: Calls) -> None:
    for name in ("token-a", "token-b"):
        target_calls.create(create_request(name, script=Path("/x"), output=Path("/tmp/out")))  # noqa: S108 - never opened
    first = target_calls.stub.ListHyperParameterTuningJobs(
        pb.ListHyperParameterTuningJobsRequest(max_results=1, name_contains="token"), timeout=10
    )
    other = pb.ListHyperParameterTuningJobsRequest(
        next_token=first.next_token,
        sort_order=sorting_pb2.SORT_ORDER_DESCENDING,
        name_contains="token",
    )
    with pytest.raises(Refused) as refused:
        refusing(lambda: target_calls.stub.ListHyperParameterTuningJobs(other, timeout=10))
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "other filters or another order" in refused.value.text
    for name in ("token-a", "token-b"):
        target_calls.stop(name)


def test_a_time_that_no_calendar_has_is_refused(target_calls: Calls) -> None:
    for time in (Timestamp(seconds=2**62), Timestamp(seconds=-(2**62)), Timestamp(nanos=-1)):
        request = pb.ListHyperParameterTuningJobsRequest(creation_time_after=time)
        with pytest.raises(Refused) as refused:
            refusing(lambda: target_calls.stub.ListHyperParameterTuningJobs(request, timeout=10))  # noqa: B023 - called at once
        _assert_clear(refused.value)
        assert refused.value.fields == ["CreationTimeAfter"]


def test_a_request_id_that_is_too_long_is_refused(target_calls: Calls) -> None:
    with pytest.raises(Refused) as refused:
        target_calls.create(_valid_create(), request_id="k" * 2000)
    _assert_clear(refused.value)
    assert "128 characters" in refused.value.text


def test_metadata_beyond_its_limit_is_refused(target_calls: Calls) -> None:
    with pytest.raises(Refused) as refused:
        target_calls.create(_valid_create(), request_id="k" * 100_000)
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_method_that_does_not_exist_is_unimplemented(target_calls: Calls) -> None:
    for path in ("/tunesmith.v1.TuningService/Nothing", "/no.such.Service/Method", "/"):
        with pytest.raises(Refused) as refused:
            refusing(lambda: _raw(target_calls.channel, path)(b"", timeout=10))  # noqa: B023 - called at once
        assert refused.value.code is grpc.StatusCode.UNIMPLEMENTED
