"""What the writer is told, and what it answers: plain values, which go from process to process.

Both ends are this release, started by each other, and nobody else has the pipe between them. Each
message is a frame: its length in four bytes, and what ``marshal`` makes of it.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from tunesmith_server.store.database import Value

Row: TypeAlias = tuple[Value, ...]

#: The length of a frame's first part.
HEADER_BYTES: Final = 4

#: Told instead of a group: finish, and let go of the database in good order.
CLOSE: Final = "close"


class NewJobRows(NamedTuple):
    """Hold what a tuning job's creation writes.

    Attributes:
        name: Its name.
        arn: Its ARN.
        request: The accepted create request, serialised.
        digest: Of the request as the caller sent it.
        seed: Of its suggestions.
        created_at: In microseconds since 1970.
        tags: By key.
        parents: The numbers of the tuning jobs that it starts with.
        events: First events for watchers: kind and payload of each.
        request_id: Idempotency key of the call, if it had one.
    """

    name: str
    arn: str
    request: bytes
    digest: bytes
    seed: int
    created_at: int
    tags: Mapping[str, str]
    parents: Sequence[int]
    events: Sequence[Row]
    request_id: str | None


class CommitRows(NamedTuple):
    """Hold what one change of a tuning job writes, kind by kind.

    Attributes:
        job_id: The tuning job.
        job: Its row for ``update_jobs``.
        status: Its row for ``move_jobs``.
        new_trials: For ``insert_trials``.
        new_names: For ``inherit_tags``.
        trials: For ``update_trials``.
        dropped: Names of the training jobs whose measurements are dropped.
        measurements: For ``insert_measurements``.
        events: For ``insert_events``, in order, without their place.
        request_id: Idempotency key of the call that caused the change, if it had one.
        modified_at: When it was changed, in microseconds since 1970.
    """

    job_id: int
    job: Row
    status: Row
    new_trials: Sequence[Row]
    new_names: Sequence[Row]
    trials: Sequence[Row]
    dropped: Sequence[str]
    measurements: Sequence[Row]
    events: Sequence[Row]
    request_id: str | None
    modified_at: int


class Write(NamedTuple):
    """Hold one write: the name of a function of ``changes``, and its arguments."""

    change: str
    arguments: tuple[object, ...]


class Outcome(NamedTuple):
    """Hold what came of one write.

    Attributes:
        refused_as: The name of the error that it was refused with; empty: it is durable.
        said: The error's message, or what the change gives.
    """

    refused_as: str
    said: object


def frame(message: Any) -> bytes:
    """Write a message of plain values, lists, tuples and dicts as a frame.

    Raises:
        ValueError: There is something else in it.
        OverflowError: It is longer than a frame may be, 4 GiB.
    """
    body = marshal.dumps(message)
    return len(body).to_bytes(HEADER_BYTES, "little") + body


def body_length(header: bytes | bytearray) -> int:
    """Read how many bytes follow a frame's header."""
    return int.from_bytes(header, "little")


def message_of(body: bytes) -> object:
    """Read a frame's body."""
    message: object = marshal.loads(body)  # noqa: S302 - of the other end of a pipe between our own two processes
    return message
