"""What every store's listings must do: the right items, once each, in order, page by page."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.store import samples
from tests.server.store.samples import NOW, changed, new_job
from tunesmith_server.domain.effects import SaveTrial
from tunesmith_server.domain.errors import InvalidPagingToken
from tunesmith_server.domain.states import (
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import Trial
from tunesmith_server.store.store import (
    JobQuery,
    JobSortKey,
    Page,
    Position,
    SortOrder,
    Store,
    StoredJob,
    StoredTrial,
    TimeFilter,
    TrialQuery,
    TrialSortKey,
)

examples = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Few values, so that ties are frequent; a microsecond apart, so that keys must be exact.
_times = st.integers(0, 3).map(lambda count: NOW + timedelta(microseconds=count))
_filters = st.builds(TimeFilter, after=st.none() | _times, before=st.none() | _times)
_orders = st.sampled_from(SortOrder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the listings look at, of a tuning job or a training job."""

    name: str
    status: str
    created_at: datetime
    modified_at: datetime
    objective: float | None = None

    def key(self, sort_by: str) -> str | datetime | float:
        keys: dict[str, str | datetime | float] = {
            "Name": self.name.lower(),
            "Status": self.status,
            "CreationTime": self.created_at,
            "FinalObjectiveMetricValue": self.objective or 0.0,
        }
        return keys[sort_by]


def expected(items: list[Listed], query: JobQuery | TrialQuery) -> list[str]:
    """Filter and sort as the contract says, the obvious way."""

    def within(at: datetime, times: TimeFilter) -> bool:
        after = times.after is None or at > times.after
        return after and (times.before is None or at < times.before)

    kept = [
        item
        for item in items
        if (query.status is None or item.status == query.status)
        and (query.name_contains or "").lower() in item.name.lower()
        and within(item.created_at, query.created)
        and within(item.modified_at, query.modified)
        and not (query.sort_by == "FinalObjectiveMetricValue" and item.objective is None)
    ]
    kept.sort(
        key=lambda item: (item.key(query.sort_by), item.name.lower()),
        reverse=query.order is SortOrder.DESCENDING,
    )
    return [item.name for item in kept]


def listed_trial(trial: Trial) -> Listed:
    return Listed(
        name=trial.name,
        status=trial.status,
        created_at=trial.created_at,
        modified_at=trial.modified_at,
        objective=trial.objective_value,
    )


async def names_of(
    list_page: Callable[[Position | None], Awaitable[Page[StoredTrial] | Page[StoredJob]]],
    *,
    limit: int,
    between: Callable[[], Awaitable[None]] | None = None,
) -> list[str]:
    """Read all pages, with writes between them."""
    names: list[str] = []
    after: Position | None = None
    while True:
        page = await list_page(after)
        assert len(page.items) <= limit
        names += [_name(item) for item in page.items]
        if page.next is None:
            return names
        assert len(page.items) == limit
        # Positions travel in tokens: they must survive being written as JSON.
        after = Position(**json.loads(json.dumps({"key": page.next.key, "name": page.next.name})))
        if between is not None:
            await between()


def _name(item: StoredTrial | StoredJob) -> str:
    if isinstance(item, StoredTrial):
        return item.trial.name
    return item.request.hyper_parameter_tuning_job_name


@st.composite
def _trials(draw: st.DrawFn, *, prefix: str, first: int, most: int) -> list[Trial]:
    trials = []
    for index in range(first, first + draw(st.integers(0, most))):
        letters = draw(st.text("aAbB", min_size=1, max_size=2))
        trial = samples.new_trial(f"{prefix}{letters}-{index}", index, created_at=draw(_times))
        objective = draw(st.none() | st.sampled_from([-1.5, 0.0, 0.1, 1e300]))
        if objective is not None:
            trial = samples.ended_trial(trial, objective=objective, at=NOW)
        trials.append(replace(trial, modified_at=draw(_times)))
    return trials


_trial_queries = st.builds(
    TrialQuery,
    sort_by=st.sampled_from(TrialSortKey),
    order=_orders,
    limit=st.integers(1, 4),
)
_filtered_trial_queries = st.builds(
    TrialQuery,
    sort_by=st.sampled_from(TrialSortKey),
    order=_orders,
    name_contains=st.none() | st.sampled_from(["A", "b-", "aB"]),
    status=st.none()
    | st.sampled_from([TrainingJobStatus.IN_PROGRESS, TrainingJobStatus.COMPLETED]),
    created=_filters,
    modified=_filters,
    limit=st.integers(1, 4),
)


@examples
@given(data=st.data(), query=_trial_queries | _filtered_trial_queries)
async def test_pages_of_a_tuning_jobs_training_jobs_hold_each_once_in_order(
    store: Store, data: st.DataObject, query: TrialQuery
) -> None:
    name = samples.fresh_name()
    trials = data.draw(_trials(prefix=f"{name}-", first=1, most=8))
    stored = await samples.with_trials(store, name, trials)
    query = replace(query, job_id=stored.job.job_id)
    names = await names_of(
        lambda after: store.list_trials(replace(query, after=after)), limit=query.limit
    )
    assert names == expected([listed_trial(trial) for trial in trials], query)


@examples
@given(data=st.data(), query=_trial_queries)
async def test_writes_between_pages_hide_no_training_job_and_show_none_twice(
    store: Store, data: st.DataObject, query: TrialQuery
) -> None:
    name = samples.fresh_name()
    trials = data.draw(_trials(prefix=f"{name}-", first=1, most=6))
    late = data.draw(_trials(prefix=f"{name}-", first=len(trials) + 1, most=6))
    stored = await samples.with_trials(store, name, trials)
    query = replace(query, job_id=stored.job.job_id)
    waiting = list(late)

    async def write() -> None:
        if waiting:
            now = await samples.existing(store, name)
            await store.commit(changed(now, SaveTrial(trial=waiting.pop(), is_new=True)))

    names = await names_of(
        lambda after: store.list_trials(replace(query, after=after)),
        limit=query.limit,
        between=write,
    )
    assert len(names) == len(set(names))
    before = expected([listed_trial(trial) for trial in trials], query)
    assert [one for one in names if one in before] == before
    # New ones may come or not, but only in their places.
    all_ = expected([listed_trial(trial) for trial in (*trials, *late)], query)
    assert names == [one for one in all_ if one in names]


@examples
@given(data=st.data(), query=_trial_queries)
async def test_training_jobs_of_all_tuning_jobs_are_listed_together(
    store: Store, data: st.DataObject, query: TrialQuery
) -> None:
    # The example's own mark: a store keeps training jobs for ever.
    mark = f"{samples.fresh_name('x')}y"
    trials: list[Trial] = []
    for part in ("p", "q"):
        some = data.draw(_trials(prefix=f"{mark}{part}-", first=1, most=4))
        trials += some
        await samples.with_trials(store, samples.fresh_name(), some)
    query = replace(query, name_contains=mark.upper())
    names = await names_of(
        lambda after: store.list_trials(replace(query, after=after)), limit=query.limit
    )
    assert names == expected([listed_trial(trial) for trial in trials], query)


_job_queries = st.builds(
    JobQuery, sort_by=st.sampled_from(JobSortKey), order=_orders, limit=st.integers(1, 4)
)
_filtered_job_queries = st.builds(
    JobQuery,
    sort_by=st.sampled_from(JobSortKey),
    order=_orders,
    name_contains=st.none() | st.sampled_from(["A", "b-", "aB"]),
    status=st.none() | st.sampled_from(TuningJobStatus),
    created=_filters,
    modified=_filters,
    limit=st.integers(1, 4),
)


@examples
@given(data=st.data(), query=_job_queries | _filtered_job_queries)
async def test_pages_of_tuning_jobs_hold_each_once_in_order(
    store: Store, data: st.DataObject, query: JobQuery
) -> None:
    listed = []
    for number in range(data.draw(st.integers(0, 6))):
        letters = data.draw(st.text("aAbB", min_size=1, max_size=2))
        new = new_job(f"{letters}-{number}", created_at=data.draw(_times))
        stored = await store.create_job(new)
        status = data.draw(st.sampled_from(TuningJobStatus))
        commit = changed(stored)
        job = replace(
            commit.job,
            status=status,
            modified_at=data.draw(_times),
            ended_at=NOW if status.is_terminal else None,
            failure_reason="why" if status is TuningJobStatus.FAILED else None,
        )
        await store.commit(replace(commit, job=job))
        listed.append(
            Listed(
                name=f"{letters}-{number}",
                status=status,
                created_at=job.created_at,
                modified_at=job.modified_at,
            )
        )
    names = await names_of(
        lambda after: store.list_jobs(replace(query, after=after)), limit=query.limit
    )
    assert names == expected(listed, query)
    await _delete_all(store)


async def _delete_all(store: Store) -> None:
    for stored in (await store.list_jobs(JobQuery(limit=100))).items:
        await store.delete_job(stored.job.job_id, deleted_at=NOW)


async def test_an_empty_listing_is_one_empty_page(store: Store) -> None:
    assert await store.list_jobs(JobQuery()) == Page(items=(), next=None)
    assert await store.list_trials(TrialQuery()) == Page(items=(), next=None)


async def test_a_page_that_ends_with_the_last_item_has_no_next(store: Store) -> None:
    await store.create_job(new_job("a"))
    await store.create_job(new_job("b"))
    assert (await store.list_jobs(JobQuery(limit=2))).next is None
    assert (await store.list_jobs(JobQuery(limit=1))).next is not None
    trials = [samples.new_trial(f"t-{index}", index) for index in (1, 2)]
    await samples.with_trials(store, "c", trials)
    assert (await store.list_trials(TrialQuery(limit=2))).next is None
    assert (await store.list_trials(TrialQuery(limit=1))).next is not None


@pytest.mark.parametrize("part", ["%", "_", "a_b", "*", "[ab]", "'", '"', "\\"])
async def test_name_contains_means_its_characters_and_no_pattern(store: Store, part: str) -> None:
    await samples.with_trials(store, "a-b", [samples.new_trial("a-b-001")])
    assert (await store.list_jobs(JobQuery(name_contains=part))).items == ()
    assert (await store.list_trials(TrialQuery(name_contains=part))).items == ()


async def test_time_filters_are_strict(store: Store) -> None:
    await store.create_job(new_job("digits"))
    tick = timedelta(microseconds=1)
    for times, count in (
        (TimeFilter(after=NOW), 0),
        (TimeFilter(before=NOW), 0),
        (TimeFilter(after=NOW - tick, before=NOW + tick), 1),
    ):
        assert len((await store.list_jobs(JobQuery(created=times))).items) == count
        assert len((await store.list_jobs(JobQuery(modified=times))).items) == count


async def test_listed_items_are_as_they_are_read_one_by_one(store: Store) -> None:
    trial = samples.new_trial("digits-001")
    stored = await samples.with_trials(store, "digits", [trial])
    best = samples.ended_trial(trial, objective=0.25, at=NOW)
    commit = changed(stored, SaveTrial(trial=best))
    await store.commit(replace(commit, job=replace(commit.job, best=best)))
    assert (await store.list_jobs(JobQuery())).items == (await store.job("digits"),)
    assert (await store.list_trials(TrialQuery())).items == (await store.trial("digits-001"),)


async def test_training_jobs_of_a_deleted_tuning_job_are_still_listed(store: Store) -> None:
    stored = await samples.with_trials(store, "digits", [samples.new_trial("digits-001")])
    await store.delete_job(stored.job.job_id, deleted_at=NOW)
    assert (await store.list_jobs(JobQuery())).items == ()
    assert len((await store.list_trials(TrialQuery())).items) == 1


async def test_a_failed_trial_with_an_objective_status_is_left_out_by_objective(
    store: Store,
) -> None:
    ended = samples.ended_trial(samples.new_trial("digits-001"), objective=None, at=NOW)
    assert ended.objective_status is ObjectiveStatus.FAILED
    assert ended.secondary_status is SecondaryStatus.COMPLETED
    await samples.with_trials(store, "digits", [ended])
    by_objective = TrialQuery(sort_by=TrialSortKey.FINAL_OBJECTIVE_METRIC_VALUE)
    assert (await store.list_trials(by_objective)).items == ()


@pytest.mark.parametrize(
    ("sort_by", "key"),
    [
        (JobSortKey.NAME, 1.0),
        (JobSortKey.CREATION_TIME, "2026"),
        (JobSortKey.CREATION_TIME, float("nan")),
        (JobSortKey.CREATION_TIME, 1e300),
    ],
)
async def test_a_position_of_another_listing_is_refused(
    store: Store, sort_by: JobSortKey, key: str | float
) -> None:
    with pytest.raises(InvalidPagingToken):
        await store.list_jobs(JobQuery(sort_by=sort_by, after=Position(key=key, name="a")))
