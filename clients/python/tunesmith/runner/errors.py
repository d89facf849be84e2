"""What can go wrong on a runner, as two trees.

``RunnerError``: the runner itself cannot start or go on::

    RunnerError
      RunnerBusy          another runner uses the data directory
      UnknownGpu          a GPU was asked for that is not here
      StreamBroken        the connection to the server ended; it is made anew

``TrialFailure``: one trial cannot be run; the runner goes on, and the trial's
``FailureReason`` says why.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Final

#: The wire's limit of a ``FailureReason``, in characters.
FAILURE_REASON_MAX: Final = 1024

#: What the system says of a path that its user should have given otherwise.
PATH_MISTAKES: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS, errno.ENAMETOOLONG}
)


class RunnerError(Exception):
    """Report that a runner cannot start or go on."""


class RunnerBusy(RunnerError):
    """Report that another runner uses the data directory; stop that one, or use another."""


class UnknownGpu(RunnerError):
    """Report a GPU that was asked for and is not on this host; correct the list."""


class StreamBroken(RunnerError):
    """Report that the stream to the server ended or broke the contract; connect again."""


class FailureKind(StrEnum):
    """Name whose fault a failure is, as SageMaker's ``FailureReason`` begins."""

    CLIENT = "ClientError"
    ALGORITHM = "AlgorithmError"
    INTERNAL = "InternalServerError"


class TrialFailure(Exception):
    """End a trial as failed.

    Attributes:
        reason: The ``FailureReason``, kind first, cut to what the wire takes.
        retryable: Whether another attempt, here or elsewhere, might fare better.
    """

    def __init__(self, kind: FailureKind, message: str, *, retryable: bool | None = None) -> None:
        self.reason = f"{kind}: {message}"[:FAILURE_REASON_MAX]
        self.retryable = kind is FailureKind.INTERNAL if retryable is None else retryable
        super().__init__(self.reason)


def failure_of_os_error(
    error: OSError, *, doing: str, mistakes: frozenset[int] = frozenset()
) -> TrialFailure:
    """Tell a user's mistake from the host's own trouble.

    Args:
        error: What the system said.
        doing: What the runner was about, e.g. ``"storing the model"``.
        mistakes: Error numbers that are the user's mistake in this.
    """
    kind = FailureKind.CLIENT if error.errno in mistakes else FailureKind.INTERNAL
    where = f" ({error.filename})" if error.filename else ""
    said = "it took too long" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return TrialFailure(kind, f"{doing}: {said}{where}")
