"""Whole tuning jobs in simulated time: quick, repeatable, and right whatever disturbs them."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import protovalidate
import pytest

from tests.server.domain.job_specs import METRIC, SMALL_SPACE, job_spec
from tests.simulation.decisions import recount
from tests.simulation.program import Run, bowl, unreliable
from tests.simulation.world import History, StuckError, World, run_tuning_job
from tunesmith.v1 import tuning_job_pb2
from tunesmith_server.domain.states import (
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.tuning_job import Strategy

TROUBLED = World(
    runners=(2, 2, 4),
    program=unreliable(bowl, failures=0.1, retryable=0.05, silent=0.05),
    loss_every_s=900.0,
    drain_every_s=700.0,
    crash_every_s=120.0,
)


def check(history: History, *, jobs: int, parallel: int) -> None:
    """Check what must be true of every finished tuning job."""
    assert history.job.status.is_terminal
    assert all(trial.status.is_terminal for trial in history.trials)
    assert len(history.trials) <= jobs
    assert history.most_open <= parallel
    assert history.job.counters == recount(history.trials)
    names = [trial.name for trial in history.trials]
    assert len(set(names)) == len(names)
    for trial in history.trials:
        values = history.measurements.get(trial.name, ())
        if trial.objective_status is ObjectiveStatus.SUCCEEDED:
            assert trial.objective_value == values[-1]


def test_an_undisturbed_tuning_job_runs_each_configuration_once() -> None:
    history = run_tuning_job(job_spec(jobs=40, parallel=4), World(runners=(4,)))
    check(history, jobs=40, parallel=4)
    assert history.job.status is TuningJobStatus.COMPLETED
    assert history.job.counters.completed == 40
    assert history.most_open == 4
    assert len({tuple(trial.parameters.items()) for trial in history.trials}) == 40
    assert [trial.index for trial in history.trials] == list(range(1, 41))
    values = {trial.name: trial.objective_value for trial in history.trials}
    assert history.job.best is not None
    assert values[history.job.best.name] == min(v for v in values.values() if v is not None)


def test_a_hundred_training_jobs_take_a_fraction_of_a_second() -> None:
    run_tuning_job(job_spec(jobs=2), World())  # what is loaded at first use
    began = time.process_time()
    history = run_tuning_job(job_spec(jobs=100, parallel=4), World(runners=(4,)))
    assert time.process_time() - began < 2.0, "it takes 0.15 s where this was written"
    assert history.took > timedelta(minutes=10)


def test_the_same_world_gives_the_same_history() -> None:
    spec = job_spec(jobs=60, parallel=6)
    assert run_tuning_job(spec, TROUBLED) == run_tuning_job(spec, TROUBLED)
    other = run_tuning_job(spec, replace(TROUBLED, seed=1))
    assert other.took != run_tuning_job(spec, TROUBLED).took


@pytest.mark.parametrize("seed", range(12))
def test_lost_runners_shutdowns_failures_and_crashes_lose_and_double_nothing(seed: int) -> None:
    spec = job_spec(jobs=60, parallel=6, maximise=seed % 2 == 1)
    history = run_tuning_job(spec, replace(TROUBLED, seed=seed))
    check(history, jobs=60, parallel=6)
    assert history.job.status is TuningJobStatus.COMPLETED
    assert len(history.trials) == 60
    assert history.crashes > 0


def test_the_troubled_world_has_all_its_troubles() -> None:
    seen: set[str] = set()
    for seed in range(4):
        history = run_tuning_job(job_spec(jobs=60, parallel=6), replace(TROUBLED, seed=seed))
        for trial in history.trials:
            seen.update(trial.story())
            seen.add(trial.failure_reason or "")
    assert {"Interrupted", "Failed", "AlgorithmError: Exit Code: 1"} <= seen
    assert any(reason.startswith("InternalServerError: the runner host-") for reason in seen)


def test_a_crash_changes_nothing_but_the_time() -> None:
    spec = job_spec(jobs=30, parallel=3)
    undisturbed = run_tuning_job(spec, World(runners=(3,)))
    crashed = run_tuning_job(spec, World(runners=(3,), crash_every_s=30.0))
    assert crashed.crashes > 10
    assert crashed.job.counters == undisturbed.job.counters
    assert crashed.measurements == undisturbed.measurements
    assert [t.parameters for t in crashed.trials] == [t.parameters for t in undisturbed.trials]
    assert [t.objective_value for t in crashed.trials] == [
        t.objective_value for t in undisturbed.trials
    ]
    assert all(trial.lease_token == 1 for trial in crashed.trials)


def test_a_returned_trial_is_run_again_to_the_same_number_of_training_jobs() -> None:
    world = World(runners=(2, 2), drain_every_s=120.0, away_s=5.0)
    history = run_tuning_job(job_spec(jobs=30, parallel=4), world)
    check(history, jobs=30, parallel=4)
    assert history.job.counters.completed == 30
    assert max(trial.lease_token for trial in history.trials) > 1


@pytest.mark.timeout(120)
def test_a_crash_changes_no_suggestion_of_a_model() -> None:
    spec = job_spec(jobs=16, parallel=1, strategy=Strategy.BAYESIAN)
    undisturbed = run_tuning_job(spec, World(runners=(1,)))
    crashed = run_tuning_job(spec, World(runners=(1,), crash_every_s=60.0))
    assert crashed.crashes > 5
    assert [t.parameters for t in crashed.trials] == [t.parameters for t in undisturbed.trials]


@pytest.mark.timeout(120)
def test_a_model_finds_better_trials_than_chance_whatever_disturbs_it() -> None:
    best: dict[Strategy, list[float]] = {Strategy.BAYESIAN: [], Strategy.RANDOM: []}
    for strategy, values in best.items():
        for seed in range(2):
            spec = job_spec(jobs=30, parallel=4, strategy=strategy, seed=seed)
            history = run_tuning_job(spec, replace(TROUBLED, seed=seed))
            check(history, jobs=30, parallel=4)
            assert len({tuple(trial.parameters.items()) for trial in history.trials}) == 30
            assert history.job.best is not None
            assert history.job.best.objective_value is not None
            values.append(history.job.best.objective_value)
    assert sum(best[Strategy.BAYESIAN]) < sum(best[Strategy.RANDOM])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("strategy", [Strategy.GRID, Strategy.RANDOM, Strategy.BAYESIAN])
def test_a_small_space_is_used_up_and_no_more(strategy: Strategy) -> None:
    spec = job_spec(jobs=50, parallel=4, space=SMALL_SPACE, strategy=strategy)
    history = run_tuning_job(spec, World(runners=(4,)))
    assert history.job.status is TuningJobStatus.COMPLETED
    assert history.job.exhausted
    assert len(history.trials) == 6
    assert len({tuple(sorted(trial.parameters.items())) for trial in history.trials}) == 6


def test_a_program_that_always_fails_is_given_up_after_five() -> None:
    world = World(runners=(2,), program=unreliable(bowl, failures=1.0))
    history = run_tuning_job(job_spec(jobs=50, parallel=2), world)
    assert history.job.status is TuningJobStatus.FAILED
    assert history.job.failure_reason is not None
    assert history.job.failure_reason.startswith("No training job succeeded after 5 attempts.")
    assert history.job.counters.non_retryable_error == 5
    assert len(history.trials) <= 6


def test_a_silent_program_completes_without_a_best_training_job() -> None:
    world = World(program=unreliable(bowl, failures=0.0, silent=1.0))
    history = run_tuning_job(job_spec(jobs=8), world)
    assert history.job.status is TuningJobStatus.COMPLETED
    assert history.job.best is None
    assert history.job.counters.objective_failed == 8


def test_trials_that_exceed_their_time_are_stopped_and_keep_their_objective() -> None:
    def endless(_: object, __: object) -> Run:
        return Run(values=(0.5, 0.25), exceeds_runtime=True)

    history = run_tuning_job(job_spec(jobs=4), World(program=endless))
    assert history.job.counters.stopped == 4
    assert history.job.best is None
    for trial in history.trials:
        assert trial.secondary_status is SecondaryStatus.MAX_RUNTIME_EXCEEDED
        assert trial.objective_value == 0.25


def test_the_time_limit_ends_a_tuning_job_within_the_time_a_stop_takes() -> None:
    limit = timedelta(minutes=10)
    spec = job_spec(jobs=700, parallel=4, max_runtime=limit)
    for crash_every_s in (None, 100.0):
        world = World(runners=(4,), crash_every_s=crash_every_s)
        history = run_tuning_job(spec, world)
        assert history.job.status is TuningJobStatus.COMPLETED
        assert limit <= history.took <= limit + timedelta(seconds=120 + 60)
        assert len(history.trials) < 700


@pytest.mark.parametrize("at_s", [0.0, 0.05, 3.0, 100.0, 500.0])
@pytest.mark.parametrize("crash_every_s", [None, 20.0])
def test_a_stopped_tuning_job_is_stopped_within_the_time_a_stop_takes(
    at_s: float, crash_every_s: float | None
) -> None:
    world = World(runners=(3,), stop_job_at_s=at_s, crash_every_s=crash_every_s)
    history = run_tuning_job(job_spec(jobs=300, parallel=5), world)
    check(history, jobs=300, parallel=5)
    assert history.job.status is TuningJobStatus.STOPPED
    assert history.took <= timedelta(seconds=at_s + 120 + 60)


def test_stopped_trials_make_room_for_others() -> None:
    stops = tuple((10.0 * index, index) for index in range(1, 11))
    history = run_tuning_job(job_spec(jobs=30), World(stop_trials=stops))
    assert history.job.status is TuningJobStatus.COMPLETED
    assert len(history.trials) == 30
    stopped = [t for t in history.trials if t.status is TrainingJobStatus.STOPPED]
    assert stopped
    assert all(trial.stop_requested for trial in stopped)


def test_watchers_see_the_whole_tuning_job_in_messages_that_keep_the_contract() -> None:
    history = run_tuning_job(job_spec(jobs=20, parallel=4), replace(TROUBLED, seed=3))
    for event in history.events:
        protovalidate.validate(event)
    last = history.events[-1].tuning_job
    assert last.hyper_parameter_tuning_job_status == (
        tuning_job_pb2.HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED
    )
    times = [event.at.ToDatetime() for event in history.events if not event.HasField("metric")]
    assert times == sorted(times)
    emitted = [e.metric for e in history.events if e.HasField("metric")]
    assert {metric.metric_name for metric in emitted} == {METRIC}


def test_a_world_without_runners_is_stuck_and_says_so() -> None:
    with pytest.raises(StuckError, match="digits"):
        run_tuning_job(job_spec(), World(runners=()))
