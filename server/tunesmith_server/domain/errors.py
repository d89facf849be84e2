"""Every error that a caller can be told about.

::

    TunesmithError
    ├── InvalidRequest          the request breaks constraints or rules; all of them are listed
    │   ├── MalformedRequest    the bytes are no message, or too many
    │   └── InvalidPagingToken  a NextToken that this service did not issue for this query
    ├── ResourceNotFound        no such tuning job, training job or tag owner
    ├── TrainingJobNotFound     the same for a training job, which SageMaker answers differently
    ├── ResourceInUse           the name is taken
    ├── ResourceLimitExceeded   a quota would be exceeded
    ├── InvalidState            the resource's status does not allow the call
    │   └── TrainingJobInUse    a training job that is to be deleted has not ended
    ├── Conflict                somebody else's change or lease came first
    ├── AlreadyCompleted        the trial has ended, and stays as it ended
    ├── SequenceGap             a runner's report does not follow the last one
    ├── UnknownOperation        no call of that name
    ├── MissingSignature        the request is not signed, and it is not known who calls
    ├── IncompleteSignature     the signature cannot be read, or leaves something out
    ├── UnknownAccessKey        the site has no such access key
    ├── InvalidSignature        the signature is another request's, another key's, or too old
    ├── AccessDenied            the caller may not do this
    ├── NotServed               part of the contract whose implementation has not landed yet
    ├── Overloaded              too much is queued; wait and retry
    └── StoreUnavailable        the store could not make the change durable

What each becomes on the wire is one table, in ``operations/error_table.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


class TunesmithError(Exception):
    """Be the base of every error that a caller can be told about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """State one broken constraint of a request.

    Attributes:
        path: The member as the user wrote it, e.g. ``Tags[2].Key``; empty for the whole request.
        message: What was wrong and what would be accepted, in SageMaker's words where known.
        rule: Name of the broken rule, e.g. ``string.max_len`` or ``grid_needs_categorical_ranges``.
        unimplemented: The member is right for SageMaker and this release does not serve it.
        is_constraint: A single member breaks a constraint of the contract; SageMaker words these
            apart from the rules of the service.
    """

    path: str
    message: str
    rule: str
    unimplemented: bool = False
    is_constraint: bool = False


class InvalidRequest(TunesmithError):
    """Refuse a request with all that is wrong with it. Mend every violation, then retry."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        self.violations = violations
        super().__init__(_sentence(violations))


def _sentence(violations: tuple[Violation, ...]) -> str:
    told = "; ".join(map(_clause, violations))
    if len(violations) > 1:
        return f"{len(violations)} validation errors detected: {told}"
    is_constraint = any(violation.is_constraint for violation in violations)
    return f"1 validation error detected: {told}" if is_constraint else told


def _clause(violation: Violation) -> str:
    """Name the member, which SageMaker's words for a broken constraint do themselves."""
    if violation.is_constraint or not violation.path:
        return violation.message
    return f"{violation.path}: {violation.message}"


class MalformedRequest(InvalidRequest):
    """Refuse bytes that are no message of the call, or too many. Mend the client."""

    def __init__(self, reason: str) -> None:
        super().__init__((Violation(path="", message=reason, rule="decoding"),))


class InvalidPagingToken(InvalidRequest):
    """Refuse a NextToken. Repeat the query without one."""

    def __init__(self, reason: str) -> None:
        message = f'Invalid pagination token because "{reason}".'
        super().__init__((Violation(path="NextToken", message=message, rule="paging_token"),))


class ResourceNotFound(TunesmithError):
    """Say that a resource does not exist. Check its name."""


class TrainingJobNotFound(TunesmithError):
    """Say that a training job does not exist. Check its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__("Requested resource not found.")


class ResourceInUse(TunesmithError):
    """Say that a name is taken. Choose another one."""


class ResourceLimitExceeded(TunesmithError):
    """Say that a quota would be exceeded. Wait for jobs to end, or raise the quota."""


class InvalidState(TunesmithError):
    """Say that the resource's status does not allow the call. Describe it and decide anew."""


class TrainingJobInUse(InvalidState):
    """Say that a training job has not ended, and so is not deleted. Stop it, and wait for its end."""

    def __init__(self, name: str, status: str) -> None:
        self.name = name
        super().__init__(f"The training job {name} is {status}; stop it first.")


class Conflict(TunesmithError):
    """Say that somebody else came first. Read the state again before trying anew."""


class AlreadyCompleted(TunesmithError):
    """Say that a trial has ended already. What this call says of it is not taken in."""

    def __init__(self, training_job_name: str) -> None:
        self.training_job_name = training_job_name
        super().__init__(f"The training job {training_job_name} has ended; nothing was changed.")


class SequenceGap(TunesmithError):
    """Say that reports are missing. Reconnect and send everything above ``stored``.

    Attributes:
        training_job_name: The trial.
        stored: The highest sequence that is durable.
        got: The sequence that came.
    """

    def __init__(self, *, training_job_name: str, stored: int, got: int) -> None:
        self.training_job_name = training_job_name
        self.stored = stored
        self.got = got
        super().__init__(
            f"Report {got} of {training_job_name} does not follow {stored}, the last durable one; "
            f"send {stored + 1} next."
        )


class UnknownOperation(TunesmithError):
    """Say that there is no call of that name, or that none is named. Check the name."""


class MissingSignature(TunesmithError):
    """Say that a request is not signed. Sign it with an access key of the site."""


class IncompleteSignature(TunesmithError):
    """Say that a signature cannot be read, or leaves something out. Mend the client."""


class UnknownAccessKey(TunesmithError):
    """Say that the site has no such access key. Check its id."""


class InvalidSignature(TunesmithError):
    """Say that a signature is not this request's under this key. Check the secret and the clock."""


class AccessDenied(TunesmithError):
    """Say that the caller may not do this. The message says what would be needed."""


class NotServed(TunesmithError):
    """Say that a part of the contract is not implemented yet. The message names the part."""


class Overloaded(TunesmithError):
    """Say that too much is queued. Retry after ``retry_after``."""

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class StoreUnavailable(TunesmithError):
    """Say that a change could not be made durable, and did not happen. Retry later.

    When the store is lost, and the server ends, the message says that it is not known.
    """
