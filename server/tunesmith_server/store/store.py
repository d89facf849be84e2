"""What every store promises.

**Durable before returning.** When a writing method returns, the change survives the death of
the process and of the machine; when it raises, the change did not happen. Only when the store is
lost nobody knows, and the message says so: then it is to be opened anew.

**All or nothing.** Everything one call is given is committed together.

**Compare and set.** A tuning job's row carries a version. ``commit`` applies only on the version
that the caller decided on, and raises :class:`~tunesmith_server.domain.errors.Conflict` otherwise.

**Reads see every write that was acknowledged before they began**, and never wait for writers.

**Concurrency.** Methods may be called from one event loop at any time, in any number. Work happens
on the store's own threads and processes; the loop is never blocked. At most ``max_queued`` writes wait; beyond
that a write raises :class:`~tunesmith_server.domain.errors.Overloaded`.

**An ended training job is never changed again**: a ``SaveTrial`` for one raises Conflict, as does one
for a training job of another tuning job. A ``SaveTrial`` that is not new leaves index, definition,
parameters and creation time as they are.

**Pages hold together.** What a query matches from its first page to its last is on exactly one of
them, whatever changes meanwhile, and nothing is on two. Sorted by status, items keep the places
that they had when the first page was read, by what was announced of them: a change of status is to
come with its event. They are shown as they are now.

Names are compared case-insensitively and kept as they were written. ``tests/server/store`` holds
the suite that every store must pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from tunesmith.v1 import event_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.effects import Durable
from tunesmith_server.domain.history import Outcome
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import TuningJob

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """Hold what a tuning job's creation writes.

    Attributes:
        request: The accepted create request.
        asked: The request as the caller sent it, by which a repeat is known; None: it is the
            accepted one. Autotune may choose otherwise at another time.
        arn: ARN of the tuning job.
        seed: Seed of its suggestions.
        created_at: Creation time.
        tags: Tags of the create request, by key.
        request_id: Idempotency key of the call, if the caller gave one.
        events: First events for watchers.
        parents: The store's numbers of the tuning jobs that it starts with.
    """

    request: pb.CreateHyperParameterTuningJobRequest
    arn: str
    seed: int
    created_at: datetime
    tags: Mapping[str, str]
    request_id: str | None
    events: Sequence[event_pb2.WatchHyperParameterTuningJobResponse]
    asked: pb.CreateHyperParameterTuningJobRequest | None = None
    parents: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """Hold a tuning job as it is stored.

    Attributes:
        request: The create request.
        arn: ARN of the tuning job.
        seed: Seed of its suggestions.
        job: Its state.
        in_progress: How many of its training jobs are open.
    """

    request: pb.CreateHyperParameterTuningJobRequest
    arn: str
    seed: int
    job: TuningJob
    in_progress: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrial:
    """Hold a training job as it is stored, with the tuning job that launched it."""

    trial: Trial
    job: StoredJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Hold one durable change of a tuning job.

    Attributes:
        job: The tuning job's new state; its ``version`` is the new one, one above the stored.
        durable: What else is written, in order. Of several states of one training job only the
            last one is written, and of several of the tuning job only the last one announced.
        request_id: Idempotency key of the call that caused the change, if it had one.
    """

    job: TuningJob
    durable: Sequence[Durable]
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Hold what a training job has measured of one metric, in the order of its reports.

    Attributes:
        trial_name: The training job.
        index: Its launch index, from 1.
        suggestion: What it was launched with.
        status: Where it is.
        lease_tokens: Under which lease each value was reported: it changes with the attempt.
        times: When each value was reported.
        steps: The step of each value.
        values: The values.
    """

    trial_name: str
    index: int
    suggestion: Suggestion
    status: TrainingJobStatus
    lease_tokens: tuple[int, ...]
    times: tuple[datetime, ...]
    steps: tuple[int, ...]
    values: tuple[float, ...]


class SortOrder(StrEnum):
    """Name the directions of a listing; one is exactly the other reversed, ties too."""

    ASCENDING = "Ascending"
    DESCENDING = "Descending"


class JobSortKey(StrEnum):
    """Name the keys by which tuning jobs are sorted; ties are broken by name."""

    NAME = "Name"
    STATUS = "Status"
    CREATION_TIME = "CreationTime"


class TrialSortKey(StrEnum):
    """Name the keys by which training jobs are sorted; ties are broken by name."""

    NAME = "Name"
    STATUS = "Status"
    CREATION_TIME = "CreationTime"
    FINAL_OBJECTIVE_METRIC_VALUE = "FinalObjectiveMetricValue"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFilter:
    """Bound a time from both sides, strictly; None leaves a side open."""

    after: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Say where a page ended: the sort key of its last item and that item's name.

    ``key`` is the item's value of the sort key as a string, a number or, for times, seconds since
    the epoch; ``as_of`` is set where items change their sort key: the event, from 0 to 2^63 - 1, up
    to which changes are taken note of. Stores make and read both, others carry them about unread.
    """

    key: str | float
    name: str
    as_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Select and order tuning jobs. ``name_contains`` ignores case."""

    sort_by: JobSortKey = JobSortKey.NAME
    order: SortOrder = SortOrder.ASCENDING
    name_contains: str | None = None
    status: TuningJobStatus | None = None
    created: TimeFilter = field(default_factory=TimeFilter)
    modified: TimeFilter = field(default_factory=TimeFilter)
    limit: int = 10
    after: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialQuery:
    """Select and order training jobs.

    ``job_id`` restricts them to one tuning job. Sorted by FinalObjectiveMetricValue, training jobs
    without an objective value are left out.
    """

    job_id: int | None = None
    sort_by: TrialSortKey = TrialSortKey.NAME
    order: SortOrder = SortOrder.ASCENDING
    name_contains: str | None = None
    status: TrainingJobStatus | None = None
    created: TimeFilter = field(default_factory=TimeFilter)
    modified: TimeFilter = field(default_factory=TimeFilter)
    limit: int = 10
    after: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """Hold one page of a listing; ``next`` is where the next one starts, None on the last."""

    items: tuple[Item, ...]
    next: Position | None


class Store(Protocol):
    """Keep tuning jobs, training jobs, metrics, events and tags."""

    async def create_job(self, new: NewJob) -> StoredJob:
        """Write a new tuning job.

        A repeat with the same ``request_id`` and the same request returns the first one's job, even if
        that was deleted since.

        Raises:
            ResourceInUse: The name is taken, in whatever case.
            Conflict: The ``request_id`` was used for something else.
        """

    async def commit(self, commit: Commit) -> None:
        """Apply one change of a tuning job.

        Raises:
            Conflict: The stored version is not the one the change was decided on, the tuning job was
                deleted, or the ``request_id`` was used before.
        """

    async def delete_job(
        self, job_id: int, *, deleted_at: datetime, request_id: str | None = None
    ) -> bool:
        """Hide a tuning job, drop its tags and free its name; False: there is none.

        Its training jobs stay.

        Raises:
            Conflict: The ``request_id`` was used before.
        """

    async def delete_trial(
        self, name: str, *, deleted_at: datetime, request_id: str | None = None
    ) -> bool:
        """Hide a training job that has ended, and drop its tags; False: there is none.

        Its tuning job stays as it is, and so do outcomes, curves and the tuning job's events.

        Raises:
            Conflict: The ``request_id`` was used before.
        """

    async def find_request(self, request_id: str) -> str | None:
        """Give what the call with this idempotency key did, ``<operation>/<resource>``."""

    async def job(self, name: str) -> StoredJob | None:
        """Read a tuning job by name."""

    async def open_jobs(self) -> tuple[StoredJob, ...]:
        """Read every tuning job that has not ended, oldest first."""

    async def parents(self, job_id: int) -> tuple[StoredJob, ...]:
        """Read the tuning jobs that a tuning job starts with, in the order of its request.

        Those that were deleted since are among them.
        """

    async def open_trials(self, job_id: int) -> tuple[Trial, ...]:
        """Read a tuning job's training jobs that have not ended, in launch order."""

    async def outcomes(self, job_id: int, *, first_index: int = 1) -> tuple[Outcome, ...]:
        """Read what has become of a tuning job's training jobs so far, in launch order.

        All of it is from one moment. What is left out costs nothing, however much there is of it.

        Args:
            job_id: The tuning job.
            first_index: Only training jobs with this launch index or a higher one.
        """

    async def trial(self, name: str) -> StoredTrial | None:
        """Read a training job by name, unless it was deleted; also one whose tuning job was."""

    async def list_jobs(self, query: JobQuery) -> Page[StoredJob]:
        """Read a page of tuning jobs."""

    async def list_trials(self, query: TrialQuery) -> Page[StoredTrial]:
        """Read a page of training jobs."""

    async def measurements(self, trial_name: str) -> tuple[tuple[str, int, float, datetime], ...]:
        """Read all values of a training job's metrics as (metric, step, value, time), in order."""

    async def curves(
        self, job_id: int, metric_name: str, *, indices: Collection[int] | None = None
    ) -> tuple[Curve, ...]:
        """Read what a tuning job's training jobs have measured of a metric.

        Those that have ended come first, in the order of their ends, then the open ones; those
        without a value are left out.

        Args:
            job_id: The tuning job.
            metric_name: The metric.
            indices: Only training jobs with these launch indices; None: all.
        """

    async def events(
        self,
        job_id: int,
        *,
        after: int,
        limit: int,
        trial_name: str | None = None,
        kinds: frozenset[event_pb2.WatchEventKind.ValueType] = frozenset(),
    ) -> tuple[event_pb2.WatchHyperParameterTuningJobResponse, ...]:
        """Read a tuning job's events above a sequence, numbered, in order.

        What is left out costs nothing, however much there is of it.

        Args:
            job_id: The tuning job.
            after: Only events above this sequence.
            limit: At most so many.
            trial_name: Only events about this training job of the tuning job, and the tuning job's
                own changes. A name that is none of its training jobs' leaves only those.
            kinds: Only events of these kinds; none: of all.
        """

    async def tags(self, arn: str) -> Mapping[str, str] | None:
        """Read a resource's tags, by key in order; None: no such resource."""

    async def add_tags(self, arn: str, tags: Mapping[str, str], *, limit: int) -> Mapping[str, str]:
        """Add or overwrite tags and return all of them.

        Raises:
            ResourceNotFound: No such resource.
            ResourceLimitExceeded: There would be more than ``limit``.
        """

    async def delete_tags(self, arn: str, keys: Sequence[str]) -> None:
        """Remove tags; keys that are not there are no error.

        Raises:
            ResourceNotFound: No such resource.
        """

    async def close(self) -> None:
        """Finish the queued writes, then let go of everything. Idempotent."""
