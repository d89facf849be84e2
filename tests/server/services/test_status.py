"""The error table: complete, in SageMaker's words, and small enough to travel."""

from __future__ import annotations

import base64
import string
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tunesmith.v1 import error_reason_pb2, options_pb2
from tunesmith_server.domain import errors
from tunesmith_server.operations.error_table import INTERNAL, TABLE, wire_error
from tunesmith_server.services.status import rich_status

Detail = TypeVar("Detail", bound=Message)

#: What gRPC's clients take of trailing metadata unless told otherwise.
_METADATA_BYTES = 8192


def _descendants(error: type[errors.TunesmithError]) -> Iterator[type[errors.TunesmithError]]:
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
        yield from _descendants(child)


def _detail(status: status_pb2.Status, kind: type[Detail]) -> Detail:
    """Give the one detail of a kind."""
    (packed,) = [packed for packed in status.details if packed.Is(kind.DESCRIPTOR)]
    detail = kind()
    packed.Unpack(detail)
    return detail


def test_every_error_of_the_domain_is_in_the_table() -> None:
    missing = [
        error.__name__
        for error in _descendants(errors.TunesmithError)
        if not any(ancestor in TABLE for ancestor in error.__mro__)
    ]
    assert missing == []
    assert {errors.InvalidPagingToken, errors.SequenceGap} <= set(
        _descendants(errors.TunesmithError)
    )


def test_every_reason_is_one_of_the_contract() -> None:
    known = {
        value.GetOptions().Extensions[options_pb2.sagemaker_name]
        for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values
    }
    assert {wire.reason for wire in (*TABLE.values(), INTERNAL)} <= known


def test_no_error_of_the_domain_is_ok_or_internal() -> None:
    codes = {wire.code for wire in TABLE.values()}
    assert not codes & {grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


def test_a_paging_tokens_error_is_looked_up_as_the_invalid_request_that_it_is() -> None:
    assert wire_error(errors.InvalidPagingToken("it is odd")) is TABLE[errors.InvalidRequest]


@pytest.mark.parametrize(
    ("unimplemented", "code"),
    [
        ((True, True), grpc.StatusCode.UNIMPLEMENTED),
        ((True, False), grpc.StatusCode.INVALID_ARGUMENT),
        ((False,), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_only_what_asks_for_nothing_but_unserved_parts_is_unimplemented(
    unimplemented: tuple[bool, ...], code: grpc.StatusCode
) -> None:
    violations = tuple(
        errors.Violation(path="A", message="is wrong", rule="r", unimplemented=each)
        for each in unimplemented
    )
    assert wire_error(errors.InvalidRequest(violations)).code is code


def test_a_bug_tells_callers_the_request_id_and_nothing_else() -> None:
    status = rich_status(ZeroDivisionError("the secret"), request_id="r-1")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert status.message == "Internal failure; request id r-1."
    assert "secret" not in str(status)
    info = _detail(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("InternalFailure", "tunesmith")


def test_violations_are_listed_by_member_with_their_rules() -> None:
    violations = (
        errors.Violation(path="Tags[2].Key", message="is too long", rule="string.max_len"),
        errors.Violation(path="", message="is odd", rule="odd"),
    )
    status = rich_status(errors.InvalidRequest(violations), request_id="r-1")
    listed = _detail(status, error_details_pb2.BadRequest)
    assert [(v.field, v.description, v.reason) for v in listed.field_violations] == [
        ("Tags[2].Key", "is too long", "string.max_len"),
        ("", "is odd", "odd"),
    ]


def test_an_overloaded_server_says_when_to_come_back() -> None:
    error = errors.Overloaded("too much", retry_after=timedelta(seconds=1.5))
    status = rich_status(error, request_id="r-1")
    retry = _detail(status, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToTimedelta() == timedelta(seconds=1.5)
    assert wire_error(error).retryable


@pytest.mark.parametrize("letter", ["a", "ä", "漢", "%", "\N{PILE OF POO}"])
def test_any_number_of_violations_fits_the_metadata_that_clients_take(letter: str) -> None:
    violations = tuple(
        errors.Violation(path=f"A[{n}]", message=letter * 200, rule="r") for n in range(5000)
    )
    status = rich_status(errors.InvalidRequest(violations), request_id="k" * 128)
    # gRPC sends the message, percent-encoded, and the whole status, in base64.
    message = quote(status.message, safe=string.punctuation.replace("%", "") + " ")
    encoded = base64.b64encode(status.SerializeToString())
    assert len(message) + len(encoded) < _METADATA_BYTES - 500
    listed = _detail(status, error_details_pb2.BadRequest)
    shown = len(listed.field_violations) - 1
    assert shown >= 1
    assert listed.field_violations[-1].description == (
        f"{5000 - shown} more violations are not shown."
    )


def test_a_client_that_takes_more_is_told_more_up_to_a_limit() -> None:
    violations = tuple(
        errors.Violation(path=f"A[{n}]", message="a" * 200, rule="r") for n in range(100)
    )
    error = errors.InvalidRequest(violations)
    status = rich_status(error, request_id="r-1", error_bytes=10**9)
    assert len(_detail(status, error_details_pb2.BadRequest).field_violations) == 100
    assert status.message == str(error)
    many = errors.InvalidRequest(violations * 100)
    assert rich_status(many, request_id="r-1", error_bytes=10**9).ByteSize() < 256 * 1024
