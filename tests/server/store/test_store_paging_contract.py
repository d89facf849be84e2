"""What every store's listings promise while training jobs and tuning jobs come, change and go.

What is listed before the first page and matches throughout is listed exactly once, in whatever
order; what comes later, at most once. The model is the obvious one: the set of names.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.store import samples
from tests.server.store.samples import NOW, changed, new_job
from tunesmith.v1 import event_pb2
from tunesmith_server.domain import views
from tunesmith_server.domain.effects import Announce, SaveTrial
from tunesmith_server.domain.states import (
    STATUS_OF,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import FailureKind, Trial
from tunesmith_server.store.store import (
    Commit,
    JobQuery,
    JobSortKey,
    Page,
    Position,
    SortOrder,
    Store,
    StoredJob,
    StoredTrial,
    TrialQuery,
    TrialSortKey,
)

examples = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

#: Where a training job goes from a status: statuses that sort before its own, and behind it.
_NEXT: Final = {
    SecondaryStatus.PENDING: (SecondaryStatus.TRAINING, SecondaryStatus.STOPPED),
    SecondaryStatus.TRAINING: (
        SecondaryStatus.COMPLETED,
        SecondaryStatus.FAILED,
        SecondaryStatus.STOPPING,
        SecondaryStatus.PENDING,
    ),
    SecondaryStatus.STOPPING: (SecondaryStatus.STOPPED, SecondaryStatus.COMPLETED),
}
_JOB_NEXT: Final = {
    TuningJobStatus.IN_PROGRESS: (
        TuningJobStatus.COMPLETED,
        TuningJobStatus.FAILED,
        TuningJobStatus.STOPPING,
    ),
    TuningJobStatus.STOPPING: (TuningJobStatus.STOPPED,),
}


def announced(trial: Trial) -> Announce:
    event = event_pb2.WatchHyperParameterTuningJobResponse()
    event.training_job.summary.training_job_name = trial.name
    event.training_job.summary.training_job_status = views.TRAINING_STATUS_VALUES[trial.status]
    return Announce(message=event, trial_name=trial.name)


def moved(trial: Trial, to: SecondaryStatus) -> Trial:
    """Give a training job in its next status; one that completes has an objective."""
    if to is SecondaryStatus.COMPLETED:
        return samples.ended_trial(trial, objective=trial.index / 4, at=NOW)
    failed = to is SecondaryStatus.FAILED
    return replace(
        trial,
        secondary_status=to,
        ended_at=NOW if STATUS_OF[to].is_terminal else None,
        failure_kind=FailureKind.RETRYABLE if failed else None,
        failure_reason="why" if failed else None,
    )


@dataclass
class World:
    """One tuning job's training jobs, in the store and here.

    Attributes:
        store: The store.
        name: Of the tuning job.
        trials: Its training jobs by name.
    """

    store: Store
    name: str
    trials: dict[str, Trial]

    async def launch(self) -> None:
        index = len(self.trials) + 1
        created_at = NOW + timedelta(microseconds=index // 2)
        trial = samples.new_trial(
            f"{self.name}-{index * 7 % 10}-{index}", index, created_at=created_at
        )
        await self._save(trial, is_new=True)

    async def move(self, name: str, to: SecondaryStatus) -> None:
        await self._save(moved(self.trials[name], to), is_new=False)

    async def _save(self, trial: Trial, *, is_new: bool) -> None:
        stored = await samples.existing(self.store, self.name)
        saved = SaveTrial(trial=trial, is_new=is_new)
        await self.store.commit(changed(stored, saved, announced(trial)))
        self.trials[trial.name] = trial

    async def change(self, data: st.DataObject) -> None:
        """Launch a training job, or move one."""
        going = [name for name, trial in self.trials.items() if trial.ended_at is None]
        name = data.draw(st.none() | st.sampled_from(going) if going else st.none())
        if name is None:
            await self.launch()
        else:
            await self.move(name, data.draw(st.sampled_from(self._next(name))))

    def _next(self, name: str) -> tuple[SecondaryStatus, ...]:
        return _NEXT[self.trials[name].secondary_status]

    def listed(self, query: TrialQuery) -> set[str]:
        """Give those that a query matches now, page or no page."""
        by_objective = query.sort_by is TrialSortKey.FINAL_OBJECTIVE_METRIC_VALUE
        return {
            name
            for name, trial in self.trials.items()
            if query.status in (None, trial.status)
            and not (by_objective and trial.objective_value is None)
        }


async def pages_of(
    list_page: Callable[[Position | None], Awaitable[Page[StoredTrial] | Page[StoredJob]]],
    between: Callable[[], Awaitable[None]],
) -> list[str]:
    """Read all pages, each position by way of JSON, with changes between them."""
    names: list[str] = []
    after: Position | None = None
    while True:
        page = await list_page(after)
        names += [
            item.trial.name
            if isinstance(item, StoredTrial)
            else item.request.hyper_parameter_tuning_job_name
            for item in page.items
        ]
        if page.next is None:
            return names
        after = Position(**json.loads(json.dumps(asdict(page.next))))
        await between()


@pytest.mark.parametrize("sort_by", TrialSortKey)
@examples
@given(data=st.data())
async def test_changes_between_pages_hide_no_training_job_and_show_none_twice(
    store: Store, sort_by: TrialSortKey, data: st.DataObject
) -> None:
    world = World(store=store, name=samples.fresh_name(), trials={})
    job = await store.create_job(new_job(world.name))
    for _ in range(data.draw(st.integers(1, 12))):
        await world.change(data)
    query = TrialQuery(
        job_id=data.draw(st.sampled_from([job.job.job_id, None])),
        name_contains=f"{world.name}-",
        sort_by=sort_by,
        order=data.draw(st.sampled_from(SortOrder)),
        status=data.draw(st.none() | st.sampled_from(TrainingJobStatus)),
        limit=data.draw(st.integers(1, 3)),
    )
    throughout = world.listed(query)

    async def between() -> None:
        for _ in range(data.draw(st.integers(0, 3))):
            await world.change(data)
        throughout.intersection_update(world.listed(query))

    names = await pages_of(lambda after: store.list_trials(replace(query, after=after)), between)
    assert len(names) == len(set(names))
    assert throughout <= set(names)


@pytest.mark.parametrize(
    ("order", "to"),
    [
        # To where the listing has been already, and to where it has yet to come.
        (SortOrder.ASCENDING, SecondaryStatus.STOPPED),
        (SortOrder.ASCENDING, SecondaryStatus.COMPLETED),
        (SortOrder.DESCENDING, SecondaryStatus.STOPPED),
        (SortOrder.DESCENDING, SecondaryStatus.COMPLETED),
    ],
)
async def test_training_jobs_that_end_between_pages_keep_their_places(
    store: Store, order: SortOrder, to: SecondaryStatus
) -> None:
    world = World(store=store, name=samples.fresh_name(), trials={})
    stored = await store.create_job(new_job(world.name))
    for _ in range(6):
        await world.launch()
    names = sorted(world.trials, reverse=order is SortOrder.DESCENDING)
    await world.move(names[5], SecondaryStatus.TRAINING)
    query = TrialQuery(job_id=stored.job.job_id, sort_by=TrialSortKey.STATUS, order=order, limit=2)

    async def between() -> None:
        for name in (names[1], names[5]):
            if world.trials[name].secondary_status is SecondaryStatus.PENDING:
                await world.move(name, SecondaryStatus.TRAINING)
            if world.trials[name].ended_at is None:
                await world.move(name, SecondaryStatus.STOPPING)
                await world.move(name, to)

    listed = await pages_of(lambda after: store.list_trials(replace(query, after=after)), between)
    assert listed == names
    # They are shown as they are now; a listing that begins now has them in their new places.
    anew = (await store.list_trials(replace(query, limit=100))).items
    assert [item.trial.name for item in anew] != names


async def _move_job(store: Store, name: str, to: TuningJobStatus) -> None:
    stored = await samples.existing(store, name)
    event = event_pb2.WatchHyperParameterTuningJobResponse()
    event.tuning_job.hyper_parameter_tuning_job_status = views.TUNING_STATUS_VALUES[to]
    commit = changed(stored, Announce(message=event, trial_name=None))
    job = replace(
        commit.job,
        status=to,
        ended_at=NOW if to.is_terminal else None,
        failure_reason="why" if to is TuningJobStatus.FAILED else None,
    )
    await store.commit(Commit(job=job, durable=commit.durable))


@pytest.mark.parametrize("sort_by", JobSortKey)
@examples
@given(data=st.data())
async def test_changes_between_pages_hide_no_tuning_job_and_show_none_twice(
    store: Store, sort_by: JobSortKey, data: st.DataObject
) -> None:
    mark = samples.fresh_name("m")
    statuses: dict[str, TuningJobStatus] = {}
    count = 0

    async def change() -> None:
        nonlocal count
        name = data.draw(st.none() | st.sampled_from(sorted(statuses)) if statuses else st.none())
        if name is None:
            count += 1
            name = f"{mark}-{count * 7 % 10}-{count}"
            at = NOW + timedelta(microseconds=count // 2)
            await store.create_job(new_job(name, created_at=at))
            statuses[name] = TuningJobStatus.IN_PROGRESS
        elif statuses[name] in _JOB_NEXT:
            statuses[name] = data.draw(st.sampled_from(_JOB_NEXT[statuses[name]]))
            await _move_job(store, name, statuses[name])
        else:
            stored = await samples.existing(store, name)
            await store.delete_job(stored.job.job_id, deleted_at=NOW)
            del statuses[name]

    for _ in range(data.draw(st.integers(1, 12))):
        await change()
    query = JobQuery(
        name_contains=f"{mark}-",
        sort_by=sort_by,
        order=data.draw(st.sampled_from(SortOrder)),
        status=data.draw(st.none() | st.sampled_from(TuningJobStatus)),
        limit=data.draw(st.integers(1, 3)),
    )
    wanted = query.status
    throughout = {name for name, status in statuses.items() if wanted in (None, status)}

    async def between() -> None:
        for _ in range(data.draw(st.integers(0, 3))):
            await change()
        throughout.intersection_update(
            {name for name, status in statuses.items() if wanted in (None, status)}
        )

    names = await pages_of(lambda after: store.list_jobs(replace(query, after=after)), between)
    assert len(names) == len(set(names))
    assert throughout <= set(names)


@pytest.mark.parametrize("order", SortOrder)
@pytest.mark.parametrize("to", [TuningJobStatus.COMPLETED, TuningJobStatus.STOPPED])
async def test_tuning_jobs_that_end_between_pages_keep_their_places(
    store: Store, order: SortOrder, to: TuningJobStatus
) -> None:
    names = sorted("abcd", reverse=order is SortOrder.DESCENDING)
    for name in names:
        await store.create_job(new_job(name))
    query = JobQuery(sort_by=JobSortKey.STATUS, order=order, limit=2)
    moving = [names[3], names[0]]

    async def between() -> None:
        while moving:
            await _move_job(store, moving.pop(), to)

    listed = await pages_of(lambda after: store.list_jobs(replace(query, after=after)), between)
    assert listed == names
