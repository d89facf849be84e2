"""Every error that a client of Tunesmith can meet.

::

    TunesmithError
    ├── InvalidRequest         the request breaks constraints; all of them are listed
    ├── ResourceNotFound       no such tuning job, training job or tag owner
    ├── ResourceInUse          the name is taken
    ├── ResourceLimitExceeded  a quota would be exceeded
    ├── Throttled              too many calls; wait and retry
    ├── InvalidState           the resource's status does not allow the call
    ├── Conflict               another change came first, or a trial was taken back
    ├── AlreadyCompleted       the trial has ended already
    ├── NotServed              the server does not serve this operation or member
    ├── AccessDenied           the caller may not do this
    ├── ServerUnavailable      nothing answers at the address
    ├── DeadlineExceeded       no answer came in time
    └── ServerFailure          the server failed; its log says why

How a gRPC status becomes one of them is one table, in ``statuses.py``. Not for what goes wrong
on a runner; see ``runner/errors.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """State one broken constraint of a request.

    Attributes:
        path: The member as the user wrote it, e.g. ``Tags[2].Key``; empty for the whole request.
        message: What was wrong and what would be accepted.
    """

    path: str
    message: str


class TunesmithError(Exception):
    """Be the base of every error of the client.

    Attributes:
        reason: SageMaker's name of the error, e.g. ``ResourceInUse``; empty if none was given.
        violations: Every broken constraint of the request; empty unless it was refused for them.
        left_out: How many more broken constraints there are, for which there was no room.
        request_id: The request id of the failed call, by which the server's log can be searched;
            empty if the call never had one.
        retry_after_s: How long to wait before trying anew; ``None`` if the server did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        violations: Iterable[Violation] = (),
        left_out: int = 0,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        self.reason = reason
        self.violations = tuple(violations)
        self.left_out = left_out
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        super().__init__(message)


class InvalidRequest(TunesmithError):
    """Refuse a request with all that is wrong with it. Mend every violation, then retry."""


class ResourceNotFound(TunesmithError):
    """Say that a resource does not exist. Check its name."""


class ResourceInUse(TunesmithError):
    """Say that a name is taken. Choose another one."""


class ResourceLimitExceeded(TunesmithError):
    """Say that a quota would be exceeded. Wait for jobs to end, or have the quota raised."""


class Throttled(TunesmithError):
    """Say that too many calls came. Retry after ``retry_after_s``."""


class InvalidState(TunesmithError):
    """Say that the resource's status does not allow the call. Describe it and decide anew."""


class Conflict(TunesmithError):
    """Say that another change came first. Read the state again before trying anew."""


class AlreadyCompleted(TunesmithError):
    """Say that a trial has ended already; what was said of it now is not taken in."""


class NotServed(TunesmithError):
    """Say that this server does not serve an operation or a member. The message names it."""


class AccessDenied(TunesmithError):
    """Say that the caller may not do this. Ask for the permission that the message names."""


class ServerUnavailable(TunesmithError):
    """Say that nothing answers at the address, after all retries. Start the server, or wait."""


class DeadlineExceeded(TunesmithError):
    """Say that no answer came in time. Whether the call had an effect is not known."""


class ServerFailure(TunesmithError):
    """Say that the server failed. A retry is safe; its log tells more under ``request_id``."""


def refusal(violations: Iterable[Violation], *, left_out: int = 0) -> InvalidRequest:
    """Make the error that refuses a request for all these violations, in their order.

    Args:
        violations: Those to list.
        left_out: How many more there are.
    """
    listed = tuple(violations)
    sentence = "; ".join(violation.message for violation in listed)
    if left_out:
        sentence += f"; {left_out} more violations are not shown."
    if len(listed) > 1:
        sentence = f"{len(listed) + left_out} validation errors detected: {sentence}"
    return InvalidRequest(
        sentence, reason="ValidationException", violations=listed, left_out=left_out
    )
