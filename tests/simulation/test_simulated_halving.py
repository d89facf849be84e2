"""Hyperband's rule in simulated time: nobody waits for others to reach a rung."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import numpy as np

from tests.server.domain.job_specs import job_spec
from tests.simulation.program import Run, unreliable
from tests.simulation.world import History, World, run_tuning_job
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import HalvingTerms, JobSpec, Strategy

EPOCHS = 16
JOBS, PLACES = 160, 16


def epoch_s(parameters: Mapping[str, str]) -> float:
    """Give how long an epoch takes: the slowest trials take six times as long as the quickest."""
    return 10.0 * float(parameters["depth"])


def train(parameters: Mapping[str, str], rng: np.random.Generator) -> Run:
    """Train something whose loss falls by the same share in all trials."""
    del rng
    final = abs(np.log10(float(parameters["learning_rate"])) + 3)
    values = tuple(float(final + 1 / epoch) for epoch in range(1, EPOCHS + 1))
    return Run(values=values, epoch_s=epoch_s(parameters))


def hyperband(*, jobs: int = JOBS) -> JobSpec:
    spec = job_spec(jobs=jobs, parallel=PLACES, strategy=Strategy.HYPERBAND)
    terms = HalvingTerms(min_resource=1, max_resource=EPOCHS)
    return replace(spec, definitions=(replace(spec.definition, halving_terms=terms),))


WORLD = World(runners=(4,) * (PLACES // 4), program=train, suggestion_s=0.1, max_stop_s=5.0)


def resource_at_stop(trial: Trial) -> int:
    """Read off how many values a trial had emitted when it was stopped."""
    (found,) = (
        found
        for each in trial.transitions
        if (found := re.search(r"at rung \d+, resource (\d+),", each.message))
    )
    return int(found.group(1))


def has_reached(trial: Trial, resource: int, *, after: timedelta) -> bool:
    """Tell whether a trial had emitted so many values, so long after its program was started."""
    return after.total_seconds() >= resource * epoch_s(trial.parameters)


def still_below(history: History, stopped: Trial) -> list[Trial]:
    """Give the trials that had not reached a stopped one's rung when its place became free."""
    assert stopped.ended_at is not None
    at, resource = stopped.ended_at, resource_at_stop(stopped)
    return [
        trial
        for trial in history.trials
        if trial.training_started_at is not None
        and trial.training_started_at < at
        and (trial.ended_at is None or trial.ended_at > at)
        and not has_reached(trial, resource, after=at - trial.training_started_at)
    ]


def test_a_stopped_trials_place_is_refilled_at_once_whoever_is_on_the_way_to_its_rung() -> None:
    history = run_tuning_job(hyperband(), WORLD)
    assert history.job.status is TuningJobStatus.COMPLETED
    assert history.most_open == PLACES
    stopped = [trial for trial in history.trials if trial.status is TrainingJobStatus.STOPPED]
    assert len(stopped) > JOBS // 2
    # The place that is free first goes to the first trial after those that had one from the start.
    ended = sorted(trial.ended_at for trial in history.trials if trial.ended_at is not None)
    later = history.trials[PLACES:]
    waited = [trial.created_at - end for trial, end in zip(later, ended, strict=False)]
    assert len(waited) == JOBS - PLACES
    # Another suggestion may be under way when a place becomes free.
    assert max(waited) <= 2 * timedelta(seconds=WORLD.suggestion_s)
    assert all(trial.story()[:2] == ("Pending", "Starting") for trial in history.trials)
    assert all(trial.transitions[1].started_at == trial.created_at for trial in history.trials)
    # A rule that waits for a rung to fill would have waited nearly each time.
    before_others = [trial for trial in stopped if still_below(history, trial)]
    assert len(before_others) > 0.9 * len(stopped)


def test_lost_runners_failures_and_crashes_do_not_keep_the_rule_from_stopping() -> None:
    troubled = replace(
        WORLD,
        program=unreliable(train, failures=0.1, retryable=0.05),
        loss_every_s=900.0,
        drain_every_s=700.0,
        crash_every_s=120.0,
    )
    history = run_tuning_job(hyperband(jobs=60), troubled)
    assert history.job.status is TuningJobStatus.COMPLETED
    assert history.crashes > 0
    assert history.most_open <= PLACES
    assert history.job.counters.stopped > 60 // 3
