"""Optimisers of two definitions on a compute worker: the same suggestions after a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.server.domain.job_specs import FIRST, SECOND, job_spec, two_definitions
from tests.server.engine.compute_parts import QUICK, running
from tests.server.store import samples
from tests.server.store.samples import NOW, changed, ended_trial, existing
from tunesmith_server.domain.effects import SaveTrial
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import Trial, launch
from tunesmith_server.domain.tuning_job import JobSpec, Strategy
from tunesmith_server.engine.compute import Compute
from tunesmith_server.engine.model_suggestions import ModelSuggester, SuggestionFault
from tunesmith_server.store.sqlite import SqliteStore

pytestmark = pytest.mark.timeout(180)

#: Longer than any ask takes, the first compilation of the kernels included.
LIMIT_S = 120.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "tunesmith.db")
    yield opened
    await opened.close()


@pytest.fixture
async def compute() -> AsyncIterator[Compute]:
    async with running(Compute(command=QUICK)) as made:
        yield made


@dataclass(slots=True)
class Job:
    """A tuning job in a store, whose trials a test launches and ends."""

    store: SqliteStore
    spec: JobSpec
    job_id: int
    trials: list[Trial] = field(default_factory=list)

    def suggester(self, compute: Compute) -> ModelSuggester:
        worker = compute.worker_of(self.job_id)
        return ModelSuggester(self.spec, job_id=self.job_id, store=self.store, worker=worker)

    async def ask(self, suggester: ModelSuggester, count: int = 1) -> Sequence[Suggestion]:
        async with asyncio.timeout(LIMIT_S):
            first_index = len(self.trials) + 1
            arrived = await suggester.suggest(first_index=first_index, count=count)
        return arrived.suggestions

    async def launch(self, *suggestions: Suggestion) -> None:
        new = [
            launch(
                name=f"{self.spec.name}-{index:03}",
                index=index,
                definition_name=each.definition_name,
                parameters=each.parameters,
                now=NOW,
            )
            for index, each in enumerate(suggestions, start=len(self.trials) + 1)
        ]
        self.trials += new
        await self._save(*(SaveTrial(trial=trial, is_new=True) for trial in new))

    async def end(self, index: int) -> None:
        at = NOW + timedelta(seconds=len(self.trials) + index)
        trial = self.trials[index - 1]
        self.trials[index - 1] = ended_trial(trial, objective=value_of(trial), at=at)
        await self._save(SaveTrial(trial=self.trials[index - 1]))

    async def run(self, suggester: ModelSuggester, count: int) -> None:
        for _ in range(count):
            await self.launch(*await self.ask(suggester))
            await self.end(len(self.trials))

    async def _save(self, *saves: SaveTrial) -> None:
        await self.store.commit(changed(await existing(self.store, self.spec.name), *saves))


def value_of(trial: Trial) -> float:
    """Give a loss; a forest's best is what a net has far from its own."""
    if trial.definition_name == SECOND:
        return 40.0 + abs(float(trial.parameters["trees"]) - 8)
    return (float(trial.parameters["depth"]) - 6) ** 2


async def new_job(store: SqliteStore, *, is_seeded: bool = True) -> Job:
    spec = two_definitions(job_spec(strategy=Strategy.BAYESIAN))
    if is_seeded:
        spec.request.hyper_parameter_tuning_job_config.random_seed = spec.seed
    stored = await store.create_job(samples.new_job(spec.name))
    return Job(store=store, spec=spec, job_id=stored.job.job_id)


async def test_a_restarted_server_goes_on_with_the_same_suggestions_for_each(
    store: SqliteStore, compute: Compute
) -> None:
    job = await new_job(store)
    suggester = job.suggester(compute)
    await job.run(suggester, 9)
    await job.launch(*await job.ask(suggester, 2))
    for open_index in (10, 11):
        expected = await job.ask(suggester, 3)
        async with running(Compute(command=QUICK)) as other:
            # All at once, in place of one after the other.
            assert await job.ask(job.suggester(other), 3) == expected
        await job.end(open_index)
        await job.launch(expected[0])


async def test_what_was_stored_tells_whose_each_trial_is(
    store: SqliteStore, compute: Compute
) -> None:
    job = await new_job(store)
    await job.run(job.suggester(compute), 12)
    outcomes = await store.outcomes(job.job_id)
    names = [each.suggestion.definition_name for each in outcomes]
    assert names == [trial.definition_name for trial in job.trials]
    counts = Counter(names)
    assert counts[SECOND] >= 3
    assert counts[FIRST] > 6


async def test_without_a_seed_each_has_its_three_trials_too(
    store: SqliteStore, compute: Compute
) -> None:
    job = await new_job(store, is_seeded=False)
    await job.run(job.suggester(compute), 8)
    counts = Counter(trial.definition_name for trial in job.trials)
    assert min(counts[FIRST], counts[SECOND]) >= 3


async def test_a_trial_of_no_definition_is_told_as_a_fault(
    store: SqliteStore, compute: Compute
) -> None:
    job = await new_job(store)
    (suggestion,) = await job.ask(job.suggester(compute))
    await job.launch(replace(suggestion, definition_name="third"))
    with pytest.raises(SuggestionFault, match="KeyError: 'third'"):
        await job.ask(job.suggester(compute))
