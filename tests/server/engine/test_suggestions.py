"""Suggestions: a pure function of space, seed and launch index, off the event loop."""

from __future__ import annotations

import threading

import pytest

from tests.server.domain.job_specs import SMALL_SPACE, job_spec
from tunesmith_core.designs.random import RandomDesign
from tunesmith_server.domain.errors import NotServed
from tunesmith_server.domain.tuning_job import Strategy
from tunesmith_server.engine.suggestions import DesignSuggester, make_design


@pytest.mark.parametrize("strategy", [Strategy.RANDOM, Strategy.GRID])
async def test_suggestions_do_not_depend_on_how_they_are_asked_for(strategy: Strategy) -> None:
    spec = job_spec(space=SMALL_SPACE, strategy=strategy, jobs=6)
    whole = await DesignSuggester(spec).suggest(first_index=1, count=6)
    again = DesignSuggester(spec)
    parts = [await again.suggest(first_index=index, count=1) for index in range(1, 7)]
    late = await DesignSuggester(spec).suggest(first_index=4, count=3)
    assert [part.suggestions[0] for part in parts] == list(whole.suggestions)
    assert late.suggestions == whole.suggestions[3:]


async def test_another_seed_gives_other_suggestions() -> None:
    one, two = [
        await DesignSuggester(job_spec(seed=s)).suggest(first_index=1, count=5) for s in (1, 2)
    ]
    assert one.suggestions != two.suggestions


async def test_values_are_text_as_training_scripts_get_it() -> None:
    arrived = await DesignSuggester(job_spec()).suggest(first_index=1, count=20)
    for suggestion in arrived.suggestions:
        configuration = suggestion.parameters
        assert set(configuration) == {"learning_rate", "depth", "booster"}
        assert 1e-5 <= float(configuration["learning_rate"]) <= 1e-1
        assert 2 <= int(configuration["depth"]) <= 12
        assert configuration["booster"] in {"tree", "linear"}


async def test_a_grid_ends_with_its_combinations() -> None:
    suggester = DesignSuggester(job_spec(space=SMALL_SPACE, strategy=Strategy.GRID, jobs=6))
    arrived = await suggester.suggest(first_index=1, count=10)
    assert len(arrived.suggestions) == 6
    assert arrived.exhausted
    assert len({tuple(sorted(each.parameters.items())) for each in arrived.suggestions}) == 6
    beyond = await suggester.suggest(first_index=7, count=1)
    assert (beyond.suggestions, beyond.exhausted) == ((), True)


async def test_the_event_loop_does_not_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.Thread] = []
    real = RandomDesign.configuration

    def noting(self: RandomDesign, k: int) -> object:
        seen.append(threading.current_thread())
        return real(self, k)

    monkeypatch.setattr(RandomDesign, "configuration", noting)
    await DesignSuggester(job_spec()).suggest(first_index=1, count=2)
    assert len(seen) == 2
    assert threading.current_thread() not in seen


@pytest.mark.parametrize("strategy", [Strategy.BAYESIAN])
def test_strategies_to_come_are_refused_by_name(strategy: Strategy) -> None:
    spec = job_spec(strategy=strategy)
    with pytest.raises(NotServed, match=strategy):
        make_design(spec, spec.definition)
