"""Whatever is written to a store comes back as it was; ``store`` is a fresh one of each kind."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.domain.outcomes import outcome_of
from tests.server.store import samples
from tests.server.store.samples import NOW, changed, existing, measured, new_job
from tunesmith_server.domain.effects import (
    DropMeasurements,
    SaveMeasurement,
    SaveTrial,
)
from tunesmith_server.store.store import Store

examples = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@examples
@given(data=st.data())
async def test_a_training_job_comes_back_as_it_was_written(
    store: Store, data: st.DataObject
) -> None:
    name = samples.fresh_name()
    trial = data.draw(samples.trials(name=f"{name}-001", index=data.draw(st.integers(1, 10**6))))
    stored = await samples.with_trials(store, name, [trial])
    back = await store.trial(trial.name.upper())
    assert back is not None
    # By their text: a NaN does not equal itself.
    assert repr(back.trial) == repr(trial)
    assert back.job == stored
    assert await store.outcomes(stored.job.job_id) == (outcome_of(trial),)


@examples
@given(data=st.data())
async def test_a_changed_training_job_comes_back_as_it_was_written(
    store: Store, data: st.DataObject
) -> None:
    name = samples.fresh_name()
    first = samples.new_trial(f"{name}-001")
    stored = await samples.with_trials(store, name, [first])
    drawn = data.draw(samples.trials(name=first.name, index=first.index))
    then = replace(
        drawn,
        definition_name=first.definition_name,
        parameters=first.parameters,
        created_at=first.created_at,
    )
    await store.commit(changed(stored, SaveTrial(trial=then)))
    back = await store.trial(first.name)
    assert back is not None
    assert repr(back.trial) == repr(then)


@examples
@given(data=st.data())
async def test_a_tuning_job_comes_back_as_it_was_written(store: Store, data: st.DataObject) -> None:
    name = samples.fresh_name()
    created = new_job(
        name, created_at=data.draw(samples.times), seed=data.draw(st.integers(0, 2**31 - 1))
    )
    stored = await store.create_job(created)
    then = data.draw(samples.tuning_jobs(before=stored.job))
    await store.commit(replace(changed(stored), job=then))
    assert await store.job(name) == replace(stored, job=then)


async def test_the_best_training_job_comes_back_with_its_tuning_job(store: Store) -> None:
    trial = samples.new_trial("digits-001")
    stored = await samples.with_trials(store, "digits", [trial, samples.new_trial("digits-002", 2)])
    best = samples.ended_trial(trial, objective=0.5, at=NOW)
    commit = changed(stored, SaveTrial(trial=best))
    await store.commit(replace(commit, job=replace(commit.job, best=best)))
    assert (await existing(store, "digits")).job.best == best
    assert (await existing(store, "digits")).in_progress == 1


@examples
@given(values=st.lists(st.floats(), max_size=8))
async def test_measurements_come_back_in_order_with_nan_and_infinities(
    store: Store, values: list[float]
) -> None:
    name = samples.fresh_name()
    stored = await samples.with_trials(store, name, [samples.new_trial(f"{name}-001")])
    written = [
        measured(f"{name}-001", number, value, metric=f"métrique-{number % 2}")
        for number, value in enumerate(values, 1)
    ]
    await store.commit(changed(stored, *written))
    back = await store.measurements(f"{name}-001")
    assert [(metric, step, at) for metric, step, _, at in back] == [
        (one.metric_name, one.step, one.measured_at)
        for one in written
        if isinstance(one, SaveMeasurement)
    ]
    for (_, _, got, _), value in zip(back, values, strict=True):
        assert got == value or (math.isnan(got) and math.isnan(value))


async def test_a_later_leases_measurements_follow_the_earlier_ones(store: Store) -> None:
    stored = await samples.with_trials(store, "digits", [samples.new_trial("digits-001")])
    second = measured("digits-001", 1, 2.0)
    assert isinstance(second, SaveMeasurement)
    await store.commit(
        changed(stored, replace(second, lease_token=2), measured("digits-001", 9, 1.0))
    )
    assert [value for _, _, value, _ in await store.measurements("digits-001")] == [1.0, 2.0]


async def test_dropped_measurements_are_gone_and_can_be_written_anew(store: Store) -> None:
    stored = await samples.with_trials(store, "digits", [samples.new_trial("digits-001")])
    await store.commit(
        changed(
            stored,
            measured("digits-001", 1, 1.0),
            DropMeasurements(trial_name="digits-001"),
            measured("digits-001", 1, 2.0),
        )
    )
    assert [value for _, _, value, _ in await store.measurements("digits-001")] == [2.0]
