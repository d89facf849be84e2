"""The error table: what each domain error becomes on the wire. Both front doors read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc

from tunesmith_server.domain import errors


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
    errors.UnknownOperation: WireError(
        code=_C.UNIMPLEMENTED, http_status=400, reason="UnknownOperationException"
    ),
    errors.MissingSignature: WireError(
        code=_C.UNAUTHENTICATED, http_status=400, reason="MissingAuthenticationTokenException"
    ),
    errors.IncompleteSignature: WireError(
        code=_C.UNAUTHENTICATED, http_status=400, reason="IncompleteSignatureException"
    ),
    errors.UnknownAccessKey: WireError(
        code=_C.UNAUTHENTICATED, http_status=400, reason="UnrecognizedClientException"
    ),
    errors.InvalidSignature: WireError(
        code=_C.UNAUTHENTICATED, http_status=400, reason="InvalidSignatureException"
    ),
    errors.AccessDenied: WireError(
        code=_C.PERMISSION_DENIED, http_status=400, reason="AccessDeniedException"
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


def told(error: Exception, *, request_id: str) -> str:
    """Say what went wrong to the caller, who learns nothing of a bug but the request's id."""
    if wire_error(error) is INTERNAL:
        return f"Internal failure; request id {request_id}."
    return str(error)
