"""The error table: what each domain error becomes on the wire. Both fronts read it."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tunesmith_server.domain import errors

#: Domain of ``google.rpc.ErrorInfo``: whose reasons these are.
ERROR_DOMAIN: Final = "tunesmith"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireError:
    """Say what one class of errors becomes.

    Attributes:
        code: Canonical gRPC code.
        http_status: Status of the AWS JSON front.
        reason: SageMaker's error name: ``__type`` there, ``ErrorInfo.reason`` here.
        retryable: The same call may succeed later, unchanged.
    """

    code: grpc.StatusCode
    http_status: int
    reason: str
    retryable: bool = False


_C = grpc.StatusCode
_INVALID = WireError(code=_C.INVALID_ARGUMENT, http_status=400, reason="ValidationException")

#: The most special class first is not needed: a class is looked up along its own ancestry.
TABLE: Final[dict[type[errors.TunesmithError], WireError]] = {
    errors.InvalidRequest: _INVALID,
    errors.MalformedRequest: WireError(
        code=_C.INVALID_ARGUMENT, http_status=400, reason="SerializationException"
    ),
    errors.ResourceNotFound: WireError(
        code=_C.NOT_FOUND, http_status=400, reason="ResourceNotFound"
    ),
    # SageMaker answers an unknown training job with a ValidationException.
    errors.TrainingJobNotFound: WireError(
        code=_C.NOT_FOUND, http_status=400, reason="ValidationException"
    ),
    errors.ResourceInUse: WireError(
        code=_C.ALREADY_EXISTS, http_status=400, reason="ResourceInUse"
    ),
    errors.ResourceLimitExceeded: WireError(
        code=_C.RESOURCE_EXHAUSTED, http_status=400, reason="ResourceLimitExceeded"
    ),
    errors.InvalidState: WireError(
        code=_C.FAILED_PRECONDITION, http_status=400, reason="ValidationException"
    ),
    # SageMaker names this error for DeleteTrainingJob; nothing exists already.
    errors.TrainingJobInUse: WireError(
        code=_C.FAILED_PRECONDITION, http_status=400, reason="ResourceInUse"
    ),
    errors.Conflict: WireError(code=_C.ABORTED, http_status=400, reason="ConflictException"),
    errors.AlreadyCompleted: WireError(
        code=_C.ALREADY_EXISTS, http_status=400, reason="ConflictException"
    ),
    errors.SequenceGap: WireError(
        code=_C.OUT_OF_RANGE, http_status=400, reason="ValidationException"
    ),
    errors.NotServed: WireError(
        code=_C.UNIMPLEMENTED, http_status=400, reason="ValidationException"
    ),
    errors.Overloaded: WireError(
        code=_C.RESOURCE_EXHAUSTED, http_status=400, reason="ThrottlingException", retryable=True
    ),
    errors.StoreUnavailable: WireError(
        code=_C.UNAVAILABLE, http_status=500, reason="InternalFailure", retryable=True
    ),
}

#: Errors travel in gRPC's trailing metadata: the message, and all of the status once more in
#: base64. Clients take 8 KiB by default and can say that they take more, up to a limit.
#: Violations that do not fit are counted.
_DEFAULT_ERROR_BYTES: Final = 8 * 1024
_MAX_ERROR_BYTES: Final = 256 * 1024
#: What of that goes to the message and to the violations.
_MESSAGE_SHARE: Final = 0.15
_VIOLATIONS_SHARE: Final = 0.3

#: Characters that gRPC leaves as they are in a message.
_UNESCAPED: Final = string.punctuation.replace("%", "") + " "

#: Anything else is a bug, and callers learn nothing of it but the request's id.
INTERNAL: Final = WireError(code=_C.INTERNAL, http_status=500, reason="InternalFailure")


def wire_error(error: Exception) -> WireError:
    """Look an error up in the table."""
    if isinstance(error, errors.InvalidRequest) and all(
        violation.unimplemented for violation in error.violations
    ):
        return TABLE[errors.NotServed]
    for ancestor in type(error).__mro__:
        if ancestor in TABLE:
            return TABLE[ancestor]
    return INTERNAL


def rich_status(
    error: Exception, *, request_id: str, error_bytes: int | None = None
) -> status_pb2.Status:
    """Write an error as a ``google.rpc.Status`` with its details.

    Args:
        error: The error.
        request_id: Names the call, for the caller and the log.
        error_bytes: How much trailing metadata the caller takes; None: gRPC's default.
    """
    limit = min(max(error_bytes or 0, _DEFAULT_ERROR_BYTES), _MAX_ERROR_BYTES)
    wire = wire_error(error)
    internal = wire is INTERNAL
    message = f"Internal failure; request id {request_id}." if internal else str(error)
    status = status_pb2.Status(
        code=wire.code.value[0], message=_short(message, int(limit * _MESSAGE_SHARE))
    )
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=wire.reason, domain=ERROR_DOMAIN),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if isinstance(error, errors.InvalidRequest):
        details.append(_bad_request(error, int(limit * _VIOLATIONS_SHARE)))
    if isinstance(error, errors.Overloaded):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        details.append(retry)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _bad_request(error: errors.InvalidRequest, max_bytes: int) -> error_details_pb2.BadRequest:
    """List the violations, as many as fit; the last entry counts the others."""
    listed = error_details_pb2.BadRequest()
    for number, violation in enumerate(error.violations):
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=violation.path, description=violation.message, reason=violation.rule
        )
        if listed.ByteSize() + entry.ByteSize() > max_bytes and number:
            more = len(error.violations) - number
            listed.field_violations.add(description=f"{more} more violations are not shown.")
            break
        listed.field_violations.append(entry)
    return listed


def _short(message: str, max_bytes: int) -> str:
    """Cut a message to what the metadata takes, in which gRPC escapes all but plain ASCII."""
    kept = message[:max_bytes]  # a character takes a byte at least
    while len(quote(kept, safe=_UNESCAPED)) > max_bytes:
        kept = kept[: len(kept) * 9 // 10]
    if kept == message:
        return message
    return f"{kept}… ({len(message) - len(kept)} more characters)"
