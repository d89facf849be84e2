"""List requests become the store's queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith import from_aws, to_aws
from tunesmith.v1 import sorting_pb2, training_job_pb2, tuning_job_pb2
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.enum_names import sagemaker_name
from tunesmith_server.domain.errors import InvalidPagingToken
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.operations import paging, queries
from tunesmith_server.store.store import (
    JobQuery,
    JobSortKey,
    Position,
    SortOrder,
    TimeFilter,
    TrialQuery,
    TrialSortKey,
)

_TuningStatus = tuning_job_pb2.HyperParameterTuningJobStatus
_TrainingStatus = training_job_pb2.TrainingJobStatus


def test_an_empty_request_is_the_first_ten_by_name() -> None:
    assert queries.tuning_jobs(pb.ListHyperParameterTuningJobsRequest()) == JobQuery(limit=10)
    request = training_pb.ListTrainingJobsForHyperParameterTuningJobRequest()
    assert queries.training_jobs_of(request, 3) == TrialQuery(job_id=3, limit=10)


def test_training_jobs_across_tuning_jobs_are_by_creation_time() -> None:
    query = queries.training_jobs(training_pb.ListTrainingJobsRequest())
    assert query == TrialQuery(sort_by=TrialSortKey.CREATION_TIME, limit=10)


def test_every_member_of_a_request_reaches_the_query() -> None:
    request = pb.ListHyperParameterTuningJobsRequest(
        max_results=3,
        sort_by=sorting_pb2.HYPER_PARAMETER_TUNING_JOB_SORT_BY_OPTIONS_CREATION_TIME,
        sort_order=sorting_pb2.SORT_ORDER_DESCENDING,
        name_contains="x",
        status_equals=tuning_job_pb2.HYPER_PARAMETER_TUNING_JOB_STATUS_STOPPING,
    )
    times = [datetime(2026, 11, day, 1, 2, 3, 456789, tzinfo=UTC) for day in (1, 2, 3, 4)]
    request.creation_time_after.FromDatetime(times[0])
    request.creation_time_before.FromDatetime(times[1])
    request.last_modified_time_after.FromDatetime(times[2])
    request.last_modified_time_before.FromDatetime(times[3])
    request.next_token = paging.next_token(request, Position(key=1.5, name="n")) or ""
    assert queries.tuning_jobs(request) == JobQuery(
        sort_by=JobSortKey.CREATION_TIME,
        order=SortOrder.DESCENDING,
        name_contains="x",
        status=TuningJobStatus.STOPPING,
        created=TimeFilter(after=times[0], before=times[1]),
        modified=TimeFilter(after=times[2], before=times[3]),
        limit=3,
        after=Position(key=1.5, name="n"),
    )


def test_bounds_between_two_microseconds_let_through_what_they_say() -> None:
    at = datetime(2026, 11, 1, 1, 2, 3, 456789, tzinfo=UTC)
    request = pb.ListHyperParameterTuningJobsRequest()
    for bound in (request.creation_time_after, request.creation_time_before):
        bound.FromDatetime(at)
        bound.nanos += 500
    request.last_modified_time_before.seconds = 253402300799
    request.last_modified_time_before.nanos = 999999999
    query = queries.tuning_jobs(request)
    assert query is not None
    # Times are whole microseconds: this one is before the upper bound, and not after the lower one.
    later = at + timedelta(microseconds=1)
    assert query.created == TimeFilter(after=at, before=later)
    assert query.modified == TimeFilter(before=datetime.max.replace(tzinfo=UTC))


@given(st.datetimes(datetime(1999, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - the strategy adds the time zone
def test_a_time_that_was_shown_lets_its_own_item_through_on_neither_side(at: datetime) -> None:
    """As SageMaker's JSON shows it, in milliseconds, and as the message itself does."""
    summary = tuning_job_pb2.HyperParameterTuningJobSummary()
    summary.creation_time.FromDatetime(at)
    as_json = to_aws(summary)["CreationTime"]
    bounds = {"CreationTimeAfter": as_json, "CreationTimeBefore": as_json}
    in_json = from_aws(bounds, pb.ListHyperParameterTuningJobsRequest)
    exact = pb.ListHyperParameterTuningJobsRequest(
        creation_time_after=summary.creation_time, creation_time_before=summary.creation_time
    )
    for request in (in_json, exact):
        query = queries.tuning_jobs(request)
        assert query is not None
        assert query.created.after is not None
        assert query.created.before is not None
        assert not at > query.created.after
        assert not at < query.created.before


@pytest.mark.parametrize("number", _TuningStatus.values())
def test_every_status_of_a_tuning_job_can_be_asked_for(
    number: _TuningStatus.ValueType,
) -> None:
    query = queries.tuning_jobs(pb.ListHyperParameterTuningJobsRequest(status_equals=number))
    name = sagemaker_name(_TuningStatus.DESCRIPTOR, number)
    if name in {"Deleting", "DeleteFailed"}:
        assert query is None
    else:
        assert query is not None
        assert (query.status and query.status.value) == name


@pytest.mark.parametrize("number", _TrainingStatus.values())
def test_every_status_of_a_training_job_can_be_asked_for(
    number: _TrainingStatus.ValueType,
) -> None:
    name = sagemaker_name(_TrainingStatus.DESCRIPTOR, number)
    found = (
        queries.training_jobs(training_pb.ListTrainingJobsRequest(status_equals=number)),
        queries.training_jobs_of(
            training_pb.ListTrainingJobsForHyperParameterTuningJobRequest(status_equals=number), 1
        ),
    )
    for query in found:
        if name is not None and name not in set(TrainingJobStatus):
            assert query is None
        else:
            assert query is not None
            assert (query.status and query.status.value) == name


@pytest.mark.parametrize(
    ("descriptor", "keys"),
    [
        (sorting_pb2.HyperParameterTuningJobSortByOptions.DESCRIPTOR, JobSortKey),
        (sorting_pb2.TrainingJobSortByOptions.DESCRIPTOR, TrialSortKey),
        (sorting_pb2.SortBy.DESCRIPTOR, TrialSortKey),
        (sorting_pb2.SortOrder.DESCRIPTOR, SortOrder),
    ],
    ids=["tuning jobs", "training jobs of one", "training jobs", "order"],
)
def test_every_sort_option_of_the_contract_is_a_key_of_the_store(
    descriptor: object, keys: type[JobSortKey | TrialSortKey | SortOrder]
) -> None:
    names = {
        sagemaker_name(descriptor, value.number)  # type: ignore[arg-type]
        for value in descriptor.values  # type: ignore[attr-defined]
    } - {None}
    assert names <= {key.value for key in keys}


def test_training_jobs_with_a_warm_pool_or_a_plan_are_none() -> None:
    plan = "arn:aws:sagemaker:local:000000000000:training-plan/p"
    request = training_pb.ListTrainingJobsRequest(training_plan_arn_equals=plan)
    assert queries.training_jobs(request) is None


def test_the_defaults_of_sorting_may_be_said_from_one_page_to_the_next() -> None:
    there = Position(key="k", name="n")
    reads = {
        pb.ListHyperParameterTuningJobsRequest: queries.tuning_jobs,
        training_pb.ListTrainingJobsRequest: queries.training_jobs,
        training_pb.ListTrainingJobsForHyperParameterTuningJobRequest: (
            lambda request: queries.training_jobs_of(request, 3)
        ),
    }
    assert set(reads) == set(paging.DEFAULT_SORT)
    for request_type, defaults in paging.DEFAULT_SORT.items():
        read: Any = reads[request_type]
        unsaid, said = request_type(), request_type(**defaults)
        assert read(said) == read(unsaid)
        for first, second in ((unsaid, said), (said, unsaid)):
            token = paging.next_token(first, there)
            assert token is not None
            assert paging.position(second, token) == there
        other = request_type(sort_order=sorting_pb2.SORT_ORDER_DESCENDING)
        with pytest.raises(InvalidPagingToken):
            paging.position(other, token or "")
