"""Errors as gRPC statuses: the table's code and reason, and details that fit gRPC's metadata."""

from __future__ import annotations

import string
from typing import Final
from urllib.parse import quote

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tunesmith_server.domain import errors
from tunesmith_server.operations.error_table import told, wire_error

#: Domain of ``google.rpc.ErrorInfo``: whose reasons these are.
ERROR_DOMAIN: Final = "tunesmith"

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
    message = told(error, request_id=request_id)
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
