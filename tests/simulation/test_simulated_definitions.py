"""Whole tuning jobs with two definitions in simulated time, whatever disturbs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.server.domain.job_specs import (
    FIRST,
    SECOND,
    SECOND_METRIC,
    SMALL_SPACE,
    job_spec,
    two_definitions,
)
from tests.simulation.decisions import recount
from tests.simulation.program import Run, bowl, unreliable
from tests.simulation.world import History, World, run_tuning_job
from tunesmith_core.space.ranges import Categorical, SearchSpace
from tunesmith_server.domain.states import ObjectiveStatus, TuningJobStatus
from tunesmith_server.domain.tuning_job import JobSpec, RetryTerms, Strategy

#: Three configurations.
THREE = SearchSpace((Categorical(name="booster", values=("tree", "dart", "linear")),))


def either(configuration: Mapping[str, str], rng: np.random.Generator) -> Run:
    """Do as the definition that the configuration is of: a forest is never as good as a net."""
    run = bowl(configuration, rng)
    if "trees" not in configuration:
        return run
    distance = np.log2(float(configuration["trees"])) - 3
    noise = rng.normal(scale=0.01, size=len(run.values))
    return replace(run, values=tuple(float(1.0 + 0.1 * distance**2 + each) for each in noise))


TROUBLED = World(
    runners=(2, 2, 4),
    program=unreliable(either, failures=0.1, retryable=0.05, silent=0.05),
    loss_every_s=900.0,
    drain_every_s=700.0,
    crash_every_s=120.0,
)


def spec(
    *, jobs: int, parallel: int = 2, strategy: Strategy = Strategy.RANDOM, seed: int = 7
) -> JobSpec:
    one = job_spec(jobs=jobs, parallel=parallel, strategy=strategy, seed=seed)
    return two_definitions(one, second_retry_terms=RetryTerms(most=2))


def division(history: History) -> Counter[str | None]:
    return Counter(trial.definition_name for trial in history.trials)


@pytest.mark.parametrize("seed", range(6))
def test_what_disturbs_a_tuning_job_mixes_no_definitions(seed: int) -> None:
    history = run_tuning_job(spec(jobs=60, parallel=6), replace(TROUBLED, seed=seed))
    assert history.job.status is TuningJobStatus.COMPLETED
    assert history.job.counters == recount(history.trials)
    assert history.crashes > 0
    assert division(history) == {FIRST: 30, SECOND: 30}
    for trial in history.trials:
        names = {"trees", "booster"} if trial.definition_name == SECOND else None
        assert set(trial.parameters) == (names or {"learning_rate", "depth", "booster"})
        if trial.objective_status is ObjectiveStatus.SUCCEEDED:
            assert trial.objective_value == history.measurements[trial.name][-1]
    # Only the second definition has a RetryStrategy.
    retried = [trial for trial in history.trials if trial.retries]
    assert {trial.definition_name for trial in retried} <= {SECOND}


def test_the_same_world_gives_the_same_history_of_two_definitions() -> None:
    job = spec(jobs=40, parallel=4)
    assert run_tuning_job(job, TROUBLED) == run_tuning_job(job, TROUBLED)


def test_watchers_see_each_metric_under_its_own_name() -> None:
    history = run_tuning_job(spec(jobs=12), World(program=either))
    definition_of = {trial.name: trial.definition_name for trial in history.trials}
    metrics = [each.metric for each in history.events if each.HasField("metric")]
    assert metrics
    for metric in metrics:
        is_second = definition_of[metric.training_job_name] == SECOND
        assert (metric.metric_name == SECOND_METRIC) == is_second


@pytest.mark.parametrize("strategy", [Strategy.RANDOM, Strategy.GRID])
def test_each_round_has_one_trial_of_each_definition_until_one_is_used_up(
    strategy: Strategy,
) -> None:
    one = job_spec(jobs=50, parallel=4, strategy=strategy, space=SMALL_SPACE)
    history = run_tuning_job(two_definitions(one, second_space=THREE), World(runners=(4,)))
    assert history.job.status is TuningJobStatus.COMPLETED
    assert history.job.exhausted
    names = [trial.definition_name for trial in history.trials]
    assert [sorted(map(str, names[k : k + 2])) for k in (0, 2, 4)] == [[SECOND, FIRST]] * 3
    assert names[6:] == [FIRST] * 3
    tried = {(t.definition_name, *sorted(t.parameters.items())) for t in history.trials}
    assert len(tried) == 9


@pytest.mark.timeout(120)
def test_small_spaces_are_used_up_by_a_model_too() -> None:
    one = job_spec(jobs=50, parallel=3, strategy=Strategy.BAYESIAN, space=SMALL_SPACE)
    history = run_tuning_job(two_definitions(one, second_space=THREE), World(runners=(3,)))
    assert history.job.status is TuningJobStatus.COMPLETED
    assert history.job.exhausted
    assert division(history) == {FIRST: 6, SECOND: 3}


@pytest.mark.timeout(240)
def test_a_model_gives_most_of_the_budget_to_the_better_definition() -> None:
    shares = []
    for seed in range(2):
        job = spec(jobs=24, parallel=2, strategy=Strategy.BAYESIAN, seed=seed)
        history = run_tuning_job(job, replace(World(program=either), seed=seed))
        assert history.job.best is not None
        assert history.job.best.definition_name == FIRST
        counts = division(history)
        assert counts[SECOND] >= 3
        shares.append(counts[FIRST] / counts.total())
    assert min(shares) > 0.5


@pytest.mark.timeout(240)
def test_a_crash_changes_no_suggestion_of_a_model_for_two_definitions() -> None:
    job = spec(jobs=14, parallel=1, strategy=Strategy.BAYESIAN)
    undisturbed = run_tuning_job(job, World(runners=(1,), program=either))
    crashed = run_tuning_job(job, World(runners=(1,), program=either, crash_every_s=60.0))
    assert crashed.crashes > 5
    tried = [
        [(t.definition_name, t.parameters) for t in history.trials]
        for history in (crashed, undisturbed)
    ]
    assert tried[0] == tried[1]
    # Neither is left alone for long: what is expected of each changes with what it gave.
    assert any(before != after for (before, _), (after, _) in pairwise(tried[0]))
