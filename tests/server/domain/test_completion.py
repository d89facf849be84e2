"""When a tuning job completes before its limits, on tables worked by hand."""

from __future__ import annotations

import math
from datetime import UTC

import pytest

from tests.server.domain.job_specs import job_spec
from tests.server.domain.tuning_job_driver import Driver
from tunesmith.v1.tuning_job_pb2 import CompletionCriterion
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.completion import CompletionCriteria, Criterion, Goal
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.domain.tuning_job import Closing
from tunesmith_server.domain.views import completion_details

LESS, MORE = Goal(maximise=False), Goal(maximise=True)


@pytest.mark.parametrize(
    ("goal", "value", "best", "improves"),
    [
        (LESS, 98.99, 100.0, True),
        (LESS, 99.0, 100.0, False),  # one hundredth exactly
        (LESS, 101.0, 100.0, False),
        (MORE, 0.9091, 0.9, True),
        (MORE, 0.9085, 0.9, False),
        (LESS, -100.5, -100.0, False),
        (LESS, -101.5, -100.0, True),
        (MORE, 1e-300, 0.0, True),  # a hundredth of nothing
        (MORE, 0.0, 0.0, False),
    ],
)
def test_an_improvement_is_more_than_a_hundredth_of_the_best(
    goal: Goal, value: float, best: float, *, improves: bool
) -> None:
    assert goal.improves(value, best) is improves


@pytest.mark.parametrize(
    ("goal", "value", "criterion"),
    [
        (LESS, 0.5, Criterion.TARGET),
        (LESS, 0.4, Criterion.TARGET),
        (LESS, 0.6, None),
        (MORE, 0.5, Criterion.TARGET),
        (MORE, 0.6, Criterion.TARGET),
        (MORE, 0.4, None),
    ],
)
def test_a_target_is_met_by_what_is_as_good(
    goal: Goal, value: float, criterion: Criterion | None
) -> None:
    criteria = CompletionCriteria(target=0.5)
    assert criteria.met(value=value, not_improving=99, goal=goal) is criterion


def completed(job: Driver, *objectives: float) -> None:
    """Run training jobs, one after the other, to these objectives."""
    for objective in objectives:
        job.suggest()
        job.run(job.job.launched, objective)


def closed_by(criterion: Criterion) -> Closing:
    return Closing(status=TuningJobStatus.COMPLETED, criterion=criterion)


def test_the_target_completes_a_tuning_job_and_stops_what_is_open() -> None:
    job = Driver(job_spec(jobs=8, parallel=2, target=0.3))
    job.suggest()
    job.run(1, 0.31)
    job.suggest()
    job.assign(2)
    job.run(3, 0.9, 0.3)
    assert job.job.closing == closed_by(Criterion.TARGET)
    assert job.trial(2).stop_requested
    assert not job.job.status.is_terminal
    job.emit(2, 0.1)
    job.end(2, ev.Outcome.STOPPED)
    assert job.job.status is TuningJobStatus.COMPLETED
    assert job.job.closing == closed_by(Criterion.TARGET)
    assert job.job.launched == 3


def test_a_value_on_the_way_meets_no_target() -> None:
    job = Driver(job_spec(jobs=2, parallel=1, target=0.3))
    completed(job, 0.9)
    job.suggest()
    job.run(2, 0.1, 0.9)
    assert job.job.closing == closed_by(Criterion.MAX_TRAINING_JOBS)


def test_a_training_job_that_was_stopped_can_meet_the_target() -> None:
    job = Driver(job_spec(jobs=8, parallel=1, target=0.3))
    job.suggest()
    job.assign(1)
    job.emit(1, 0.2)
    job.stop(1)
    job.end(1, ev.Outcome.STOPPED)
    assert job.job.closing == closed_by(Criterion.TARGET)


def test_a_tuning_job_completes_once_the_best_has_not_improved_for_long_enough() -> None:
    job = Driver(job_spec(jobs=20, parallel=1, most_not_improving=3))
    counts = []
    # The best: 1.0, 1.0, 0.995, 0.9, 0.9, and then less than a hundredth below that.
    for objective in (1.0, 2.0, 0.995, 0.9, 0.95, 0.8915):
        completed(job, objective)
        counts.append(job.job.not_improving)
    assert counts == [0, 1, 2, 0, 1, 2]
    assert job.state.goes_on
    completed(job, 0.889)  # which is more than a hundredth below 0.9, but not below 0.8915
    assert job.job.not_improving == 3
    assert job.job.closing == closed_by(Criterion.NOT_IMPROVING)
    assert job.job.best is not None
    assert job.job.best.objective_value == 0.889


def test_what_has_no_objective_is_not_counted() -> None:
    job = Driver(job_spec(jobs=20, parallel=1, most_not_improving=3))
    completed(job, 1.0, 2.0)
    job.suggest()
    job.fail(3)
    completed(job, math.nan)
    assert job.job.not_improving == 1
    completed(job, 2.0, 2.0)
    assert job.job.closing == closed_by(Criterion.NOT_IMPROVING)


def test_the_count_outlives_a_crash() -> None:
    job = Driver(job_spec(jobs=20, parallel=1, most_not_improving=3))
    completed(job, 1.0, 2.0, 2.0)
    job.crash()
    assert job.job.not_improving == 2
    completed(job, 2.0)
    assert job.job.closing == closed_by(Criterion.NOT_IMPROVING)


def test_convergence_is_noted_once_and_completes_only_what_asks_for_it() -> None:
    job = Driver(job_spec(jobs=20, parallel=2))
    completed(job, 1.0)
    job.decide(ev.ConvergenceDetected())
    noted_at = job.job.converged_at
    assert noted_at == job.now
    assert job.state.goes_on
    completed(job, 1.0)
    assert job.decide(ev.ConvergenceDetected()) == []
    assert job.job.converged_at == noted_at
    shown = completion_details(job.job)
    assert shown.convergence_detected_time.ToDatetime(UTC) == noted_at
    assert not shown.completion_criterion


def test_convergence_stops_what_is_open() -> None:
    job = Driver(job_spec(jobs=20, parallel=2, on_convergence=True))
    job.suggest()
    job.assign(1)
    job.decide(ev.ConvergenceDetected())
    assert job.job.closing == closed_by(Criterion.CONVERGENCE)
    assert job.trial(1).stop_requested
    job.end(1, ev.Outcome.STOPPED)
    assert job.job.status is TuningJobStatus.COMPLETED
    kind = CompletionCriterion.COMPLETION_CRITERION_CONVERGENCE_DETECTED
    assert completion_details(job.job).completion_criterion == kind


def test_a_crash_forgets_no_convergence() -> None:
    job = Driver(job_spec(jobs=20, parallel=1))
    completed(job, 1.0)
    job.decide(ev.ConvergenceDetected())
    before = job.job.converged_at
    job.crash()
    assert job.job.converged_at == before


def test_limits_are_criteria_too() -> None:
    job = Driver(job_spec(jobs=20, parallel=1))
    completed(job, 1.0)
    job.suggest(0, exhausted=True)
    assert job.job.closing == closed_by(Criterion.SPACE_EXHAUSTED)


def test_describe_tells_how_near_the_end_is_and_what_it_was() -> None:
    job = Driver(job_spec(jobs=3, parallel=1))
    assert completion_details(job.job).ByteSize() == 0
    completed(job, 1.0, 2.0)
    details = completion_details(job.job)
    assert details.number_of_training_jobs_objective_not_improving == 1
    assert not details.completion_criterion
    completed(job, 0.5)
    details = completion_details(job.job)
    assert details.HasField("number_of_training_jobs_objective_not_improving")
    assert details.number_of_training_jobs_objective_not_improving == 0
    assert details.completion_criterion == 1  # MaxNumberOfTrainingJobs
