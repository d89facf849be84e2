"""What every store must do with tags; ``store`` is a fresh store of each kind."""

from __future__ import annotations

import pytest

from tests.server.store import samples
from tests.server.store.samples import changed, existing, new_job
from tunesmith_server.domain.effects import (
    SaveTrial,
)
from tunesmith_server.domain.errors import (
    ResourceLimitExceeded,
    ResourceNotFound,
)
from tunesmith_server.store.store import Store


async def test_tags_are_added_overwritten_and_removed(store: Store) -> None:
    arn = (await store.create_job(new_job("Digits", tags={"b": "1", "a": "1"}))).arn
    all_ = await store.add_tags(
        arn.upper().replace("ARN:AWS", "arn:aws"), {"b": "2", "ä": "3"}, limit=3
    )
    assert list(all_.items()) == [("a", "1"), ("b", "2"), ("ä", "3")]
    assert await store.tags(arn) == all_
    await store.delete_tags(arn, ["b", "nobody"])
    assert await store.tags(arn) == {"a": "1", "ä": "3"}


async def test_tag_keys_differ_by_case(store: Store) -> None:
    arn = (await store.create_job(new_job("digits", tags={"Team": "a", "team": "b"}))).arn
    assert await store.tags(arn) == {"Team": "a", "team": "b"}


async def test_more_tags_than_the_limit_are_refused_and_none_is_added(store: Store) -> None:
    arn = (await store.create_job(new_job("digits", tags={"a": "1"}))).arn
    with pytest.raises(ResourceLimitExceeded):
        await store.add_tags(arn, {"a": "2", "b": "2", "c": "2"}, limit=2)
    assert await store.tags(arn) == {"a": "1"}


async def test_tags_of_nothing_are_none_and_cannot_be_changed(store: Store) -> None:
    arn = samples.ACCOUNT.tuning_job_arn("nobody")
    assert await store.tags(arn) is None
    with pytest.raises(ResourceNotFound, match="nobody"):
        await store.add_tags(arn, {"a": "1"}, limit=50)
    with pytest.raises(ResourceNotFound, match="nobody"):
        await store.delete_tags(arn, ["a"])


async def test_a_training_job_has_the_tags_that_its_tuning_job_had_at_its_launch(
    store: Store,
) -> None:
    stored = await store.create_job(new_job("Digits", tags={"a": "1"}))
    first = SaveTrial(trial=samples.new_trial("Digits-001", 1), is_new=True)
    second = SaveTrial(trial=samples.new_trial("Digits-002", 2), is_new=True)
    await store.commit(changed(stored, first))
    await store.add_tags(stored.arn, {"a": "2", "b": "2"}, limit=50)
    await store.commit(changed(await existing(store, "digits"), second))
    await store.delete_tags(stored.arn, ["a"])
    assert await store.tags(samples.ACCOUNT.training_job_arn("Digits-001")) == {"a": "1"}
    assert await store.tags(samples.ACCOUNT.training_job_arn("Digits-002")) == {"a": "2", "b": "2"}
    own = samples.ACCOUNT.training_job_arn("Digits-001")
    assert await store.add_tags(own, {"c": "3"}, limit=50) == {"a": "1", "c": "3"}
    assert await store.tags(stored.arn) == {"b": "2"}
