"""Turn a gRPC status into the client's error: one table.

The code decides; ``google.rpc`` details add SageMaker's name of the error, the broken
constraints and how long to wait. Not for retries; see ``calls.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from tunesmith.errors import (
    AccessDenied,
    AlreadyCompleted,
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    InvalidState,
    NotServed,
    ResourceInUse,
    ResourceLimitExceeded,
    ResourceNotFound,
    ServerFailure,
    ServerUnavailable,
    Throttled,
    TunesmithError,
    Violation,
)

#: Metadata key of the request id, which makes a repeated call the same call.
REQUEST_ID_KEY: Final = "tunesmith-request-id"

#: Metadata key by which a client says how many bytes of details it takes with an error.
ERROR_BYTES_KEY: Final = "tunesmith-error-bytes"

_DETAILS_KEY: Final = "grpc-status-details-bin"
_DOMAIN: Final = "tunesmith"
_THROTTLED: Final = "ThrottlingException"
_CONFLICT: Final = "ConflictException"
#: By which a server ends a list of violations that had no room for all of them.
_LEFT_OUT: Final = re.compile(r"(\d+) more violations are not shown\.")
_ERRORS: Final[Mapping[grpc.StatusCode, type[TunesmithError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: ResourceNotFound,
    grpc.StatusCode.ALREADY_EXISTS: ResourceInUse,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceLimitExceeded,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidState,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.UNIMPLEMENTED: NotServed,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
    grpc.StatusCode.CANCELLED: ServerUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def error_of(
    failure: grpc.aio.AioRpcError, *, address: str, request_id: str = ""
) -> TunesmithError:
    """Give the error that a failed call is for the client's user.

    Args:
        failure: What gRPC raised.
        address: Where the call went, for the message when nothing answered.
        request_id: The id that the call carried, if any.
    """
    details = _details(failure)
    code = failure.code()
    kind = _ERRORS.get(code, ServerFailure)
    if kind is ResourceLimitExceeded and details.reason == _THROTTLED:
        kind = Throttled
    if kind is ResourceInUse and details.reason == _CONFLICT:
        kind = AlreadyCompleted
    message = failure.details() or code.name
    if kind is ServerUnavailable and not details.reason:
        message = f"no Tunesmith server answers at {address}: {message}"
    elif kind is DeadlineExceeded:
        message = f"the server at {address} did not answer in time"
    return kind(
        message,
        reason=details.reason,
        violations=details.violations,
        left_out=details.left_out,
        request_id=details.request_id or request_id,
        retry_after_s=details.retry_after_s,
    )


class _Details:
    """Hold what the details of a status say."""

    def __init__(self) -> None:
        self.reason = ""
        self.request_id = ""
        self.violations: list[Violation] = []
        self.left_out = 0
        self.retry_after_s: float | None = None

    def read(self, status: status_pb2.Status) -> None:
        info = error_details_pb2.ErrorInfo()
        refused = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        request = error_details_pb2.RequestInfo()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason = info.reason if info.domain == _DOMAIN else self.reason
            elif detail.Unpack(refused):
                self._read_violations(refused)
            elif detail.Unpack(request):
                self.request_id = request.request_id
            elif detail.Unpack(retry):
                self.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()

    def _read_violations(self, refused: error_details_pb2.BadRequest) -> None:
        for violation in refused.field_violations:
            rest = None if violation.field else _LEFT_OUT.fullmatch(violation.description)
            if rest is not None:
                self.left_out += int(rest[1])
            else:
                self.violations.append(
                    Violation(path=violation.field, message=violation.description)
                )


def _details(failure: grpc.aio.AioRpcError) -> _Details:
    details = _Details()
    for key, value in failure.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            details.read(status_pb2.Status.FromString(value))
    return details
