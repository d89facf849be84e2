"""List requests as the store's queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from tunesmith.v1 import sorting_pb2, training_job_operations_pb2, training_job_pb2, tuning_job_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.enum_names import sagemaker_name
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.operations import paging
from tunesmith_server.store.store import (
    JobQuery,
    JobSortKey,
    SortOrder,
    TimeFilter,
    TrialQuery,
    TrialSortKey,
)

#: Items of a page when the request says nothing.
DEFAULT_PAGE: Final = 10

_TICK: Final = timedelta(microseconds=1)
_TICK_NS: Final = 1_000
_MILLISECOND_NS: Final = 1_000_000
_REST_OF_MILLISECOND: Final = timedelta(microseconds=999)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)

_ORDER = sorting_pb2.SortOrder.DESCRIPTOR
_JOB_SORT = sorting_pb2.HyperParameterTuningJobSortByOptions.DESCRIPTOR
_TRIAL_SORT = sorting_pb2.TrainingJobSortByOptions.DESCRIPTOR
_TRAINING_JOB_SORT = sorting_pb2.SortBy.DESCRIPTOR
_TUNING_STATUS = tuning_job_pb2.HyperParameterTuningJobStatus.DESCRIPTOR
_TRAINING_STATUS = training_job_pb2.TrainingJobStatus.DESCRIPTOR


def tuning_jobs(request: pb.ListHyperParameterTuningJobsRequest) -> JobQuery | None:
    """Read a list request; None when no tuning job can be in the status it asks for.

    Raises:
        InvalidPagingToken: The token is not one of ours, or belongs to another query.
    """
    asked = sagemaker_name(_TUNING_STATUS, request.status_equals)
    if asked is not None and asked not in {status.value for status in TuningJobStatus}:
        return None
    return JobQuery(
        sort_by=JobSortKey(sagemaker_name(_JOB_SORT, request.sort_by) or "Name"),
        order=_order(request.sort_order),
        name_contains=request.name_contains or None,
        status=None if asked is None else TuningJobStatus(asked),
        created=_times(request, "creation_time"),
        modified=_times(request, "last_modified_time"),
        limit=request.max_results or DEFAULT_PAGE,
        after=paging.position(request, request.next_token),
    )


def training_jobs_of(
    request: training_job_operations_pb2.ListTrainingJobsForHyperParameterTuningJobRequest,
    job_id: int,
) -> TrialQuery | None:
    """Read a list request; None when no training job can be in the status it asks for.

    Raises:
        InvalidPagingToken: The token is not one of ours, or belongs to another query.
    """
    asked = sagemaker_name(_TRAINING_STATUS, request.status_equals)
    if asked is not None and asked not in {status.value for status in TrainingJobStatus}:
        return None
    return TrialQuery(
        job_id=job_id,
        sort_by=TrialSortKey(sagemaker_name(_TRIAL_SORT, request.sort_by) or "Name"),
        order=_order(request.sort_order),
        status=None if asked is None else TrainingJobStatus(asked),
        limit=request.max_results or DEFAULT_PAGE,
        after=paging.position(request, request.next_token),
    )


def training_jobs(
    request: training_job_operations_pb2.ListTrainingJobsRequest,
) -> TrialQuery | None:
    """Read a list request; None when no training job can match it.

    Raises:
        InvalidPagingToken: The token is not one of ours, or belongs to another query.
    """
    asked = sagemaker_name(_TRAINING_STATUS, request.status_equals)
    if asked is not None and asked not in {status.value for status in TrainingJobStatus}:
        return None
    if request.warm_pool_status_equals or request.training_plan_arn_equals:
        return None  # no training job here has a warm pool or a training plan
    return TrialQuery(
        sort_by=TrialSortKey(sagemaker_name(_TRAINING_JOB_SORT, request.sort_by) or "CreationTime"),
        order=_order(request.sort_order),
        name_contains=request.name_contains or None,
        status=None if asked is None else TrainingJobStatus(asked),
        created=_times(request, "creation_time"),
        modified=_times(request, "last_modified_time"),
        limit=request.max_results or DEFAULT_PAGE,
        after=paging.position(request, request.next_token),
    )


def _order(number: int) -> SortOrder:
    return SortOrder(sagemaker_name(_ORDER, number) or "Ascending")


def _times(
    request: pb.ListHyperParameterTuningJobsRequest
    | training_job_operations_pb2.ListTrainingJobsRequest,
    prefix: str,
) -> TimeFilter:
    def bound(member: str) -> Timestamp | None:
        if not request.HasField(member):  # type: ignore[arg-type]
            return None
        stamp: Timestamp = getattr(request, member)
        return stamp

    after, before = bound(f"{prefix}_after"), bound(f"{prefix}_before")
    return TimeFilter(
        after=None if after is None else _lower(after),
        before=None if before is None else _upper(before),
    )


def _lower(stamp: Timestamp) -> datetime:
    """Give the microsecond after which times lie that are later than a bound.

    SageMaker's JSON has times in whole milliseconds. A bound in these is taken to mean the whole
    of its millisecond, or an item would be later than the very time that was shown of it.
    """
    at = stamp.ToDatetime(tzinfo=UTC)
    return at if stamp.nanos % _MILLISECOND_NS else at + _REST_OF_MILLISECOND


def _upper(stamp: Timestamp) -> datetime:
    """Give the microsecond before which times lie that are earlier than a bound."""
    at = stamp.ToDatetime(tzinfo=UTC)
    return at + _TICK if stamp.nanos % _TICK_NS and at < _LATEST else at
