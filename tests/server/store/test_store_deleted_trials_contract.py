"""What every store must do with deleted training jobs; ``store`` is a fresh store of each kind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.server.store import samples
from tests.server.store.samples import NOW, about, changed, existing, lines, measured
from tunesmith_server.domain.effects import Announce, SaveTrial
from tunesmith_server.domain.errors import Conflict, ResourceNotFound
from tunesmith_server.store.store import Store, StoredJob, TrialQuery, TrialSortKey

BEST = "digits-001"
OPEN = "digits-002"


async def _digits(store: Store) -> StoredJob:
    """Store a tuning job with its best training job, which has ended, and an open one."""
    trials = [samples.new_trial(BEST), samples.new_trial(OPEN, index=2)]
    stored = await samples.with_trials(store, "digits", trials)
    best = samples.ended_trial(trials[0], objective=0.25, at=NOW)
    told = Announce(message=about("line"), trial_name=BEST)
    commit = changed(stored, measured(BEST, 1, 0.25), SaveTrial(trial=best), told)
    await store.commit(replace(commit, job=replace(commit.job, best=best)))
    return await existing(store, "digits")


def _arn(stored: StoredJob, name: str) -> str:
    return stored.arn.replace("hyper-parameter-tuning-job/digits", f"training-job/{name}")


async def test_a_deleted_training_job_is_found_no_more(store: Store) -> None:
    stored = await _digits(store)
    await store.add_tags(_arn(stored, BEST), {"team": "a"}, limit=50)
    assert await store.delete_trial("DIGITS-001", deleted_at=NOW) is True
    assert await store.trial(BEST) is None
    assert await store.measurements(BEST) == ()
    assert await store.tags(_arn(stored, BEST)) is None
    with pytest.raises(ResourceNotFound):
        await store.add_tags(_arn(stored, BEST), {"team": "b"}, limit=50)
    job_id = stored.job.job_id
    assert await store.events(job_id, after=0, limit=9, trial_name=BEST) == ()


@pytest.mark.parametrize("sort_by", TrialSortKey)
async def test_no_list_has_a_deleted_training_job(store: Store, sort_by: TrialSortKey) -> None:
    stored = await _digits(store)
    await store.delete_trial(BEST, deleted_at=NOW)
    for job_id in (None, stored.job.job_id):
        page = await store.list_trials(TrialQuery(job_id=job_id, sort_by=sort_by))
        assert BEST not in [item.trial.name for item in page.items]


async def test_a_deleted_training_job_leaves_its_tuning_job_as_it_was(store: Store) -> None:
    stored = await _digits(store)
    job_id = stored.job.job_id
    outcomes = await store.outcomes(job_id)
    curves = await store.curves(job_id, "loss")
    assert [curve.trial_name for curve in curves] == [BEST]
    await store.delete_trial(BEST, deleted_at=NOW)
    assert await existing(store, "digits") == stored
    assert stored.job.best is not None
    assert stored.job.best.name == BEST
    assert await store.outcomes(job_id) == outcomes
    assert await store.curves(job_id, "loss") == curves
    assert lines(await store.events(job_id, after=0, limit=9)) == ["line"]
    await store.commit(changed(stored))


async def test_a_training_job_that_has_not_ended_is_not_deleted(store: Store) -> None:
    await _digits(store)
    assert await store.delete_trial(OPEN, deleted_at=NOW) is False
    assert await store.trial(OPEN) is not None


async def test_a_training_job_that_is_not_there_is_not_deleted(store: Store) -> None:
    await _digits(store)
    assert await store.delete_trial("nobody", deleted_at=NOW) is False
    assert await store.delete_trial(BEST, deleted_at=NOW) is True
    assert await store.delete_trial(BEST, deleted_at=NOW) is False


async def test_a_deletion_is_noted_under_its_request_id(store: Store) -> None:
    await _digits(store)
    await store.delete_trial(BEST.upper(), deleted_at=NOW, request_id="delete")
    assert await store.find_request("delete") == f"DeleteTrainingJob/{BEST}"


async def test_a_request_id_that_was_used_before_deletes_nothing(store: Store) -> None:
    stored = await _digits(store)
    await store.commit(changed(stored, request_id="used"))
    with pytest.raises(Conflict, match="used"):
        await store.delete_trial(BEST, deleted_at=NOW, request_id="used")
    assert await store.trial(BEST) is not None


async def test_a_training_job_of_a_deleted_tuning_job_is_deleted_too(store: Store) -> None:
    stored = await _digits(store)
    await store.delete_job(stored.job.job_id, deleted_at=NOW)
    assert await store.delete_trial(BEST, deleted_at=NOW) is True
    assert await store.trial(BEST) is None
