"""The lifecycle of a tuning job with two definitions: each trial goes by its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.server.domain.job_specs import (
    FIRST,
    METRIC,
    SECOND,
    SECOND_METRIC,
    job_spec,
    two_definitions,
)
from tests.server.domain.tuning_job_driver import TICK, Driver
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain import views
from tunesmith_server.domain.completion import Criterion
from tunesmith_server.domain.states import ObjectiveStatus, SecondaryStatus, TuningJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import FailureKind
from tunesmith_server.domain.tuning_job import JobSpec, RetryTerms


def driver(
    spec: JobSpec | None = None, *, definitions: tuple[str, ...] = (FIRST, SECOND)
) -> Driver:
    """Launch a trial of each of these definitions, in this order."""
    job = Driver(spec or two_definitions(job_spec(jobs=4, parallel=2)))
    launch(job, *definitions)
    return job


def launch(job: Driver, *definitions: str) -> None:
    suggestions = tuple(
        Suggestion(parameters={"booster": "tree"}, definition_name=name) for name in definitions
    )
    job.decide(ev.SuggestionsArrived(suggestions=suggestions, exhausted=False))


def criterion(job: Driver) -> Criterion | None:
    closing = job.job.closing
    return None if closing is None else closing.criterion


def test_a_trial_keeps_the_definition_that_was_suggested_for_it() -> None:
    job = driver(definitions=(SECOND, FIRST))
    assert [job.trial(index).definition_name for index in (1, 2)] == [SECOND, FIRST]
    commands = job.crash()
    queued = [each.trial for each in commands if isinstance(each, fx.Enqueue)]
    assert [trial.definition_name for trial in queued] == [SECOND, FIRST]


def test_a_suggestion_of_no_definition_is_a_bug_and_launches_nothing() -> None:
    job = Driver(two_definitions(job_spec(jobs=4, parallel=2)))
    with pytest.raises(LookupError, match="third, which is not defined"):
        launch(job, "third")
    assert job.job.launched == 0


def test_the_objective_is_the_metric_of_the_trials_own_definition() -> None:
    job = driver()
    for index, own, other in ((1, METRIC, SECOND_METRIC), (2, SECOND_METRIC, METRIC)):
        job.assign(index)
        job.emit(index, 0.5, metric=own)
        job.emit(index, 0.1, metric=other)
        job.end(index)
        assert job.trial(index).objective_value == 0.5


def test_a_trial_that_emits_another_definitions_metric_only_has_no_objective() -> None:
    job = driver()
    job.assign(2)
    job.reach(2, ev.Stage.TRAINING)
    job.emit(2, 0.5, metric=METRIC)
    job.end(2)
    trial = job.trial(2)
    assert trial.objective_status is ObjectiveStatus.FAILED
    assert trial.objective_failure_reason is not None
    assert SECOND_METRIC in trial.objective_failure_reason
    assert job.job.best is None


def test_the_best_is_that_of_all_definitions_with_its_own_metrics_name() -> None:
    job = driver()
    job.run(1, 0.5)
    assert job.job.best == job.trial(1)
    job.assign(2)
    job.emit(2, 0.25, metric=SECOND_METRIC)
    job.end(2)
    assert job.job.best == job.trial(2)
    best = views.tuning_job_event(job.state).tuning_job.best_training_job
    assert best.training_job_definition_name == SECOND
    final = best.final_hyper_parameter_tuning_job_objective_metric
    assert (final.metric_name, final.value) == (SECOND_METRIC, 0.25)


def test_watchers_are_told_which_definition_a_training_job_runs() -> None:
    job = driver(definitions=(SECOND, FIRST))
    told = [each.training_job.summary for each in job.decisions.store.events]
    names = [each.training_job_definition_name for each in told if each.training_job_name]
    assert names == [SECOND, FIRST]


def test_a_target_is_met_by_any_definition() -> None:
    job = driver(two_definitions(job_spec(jobs=8, parallel=2, target=0.3)))
    job.run(1, 0.5)
    assert criterion(job) is None
    job.assign(2)
    job.emit(2, 0.2, metric=SECOND_METRIC)
    job.end(2)
    assert criterion(job) is Criterion.TARGET


def test_improvements_are_counted_over_all_definitions() -> None:
    job = driver(two_definitions(job_spec(jobs=8, parallel=2, most_not_improving=2)))
    for index, (own, value) in enumerate([(METRIC, 0.5), (SECOND_METRIC, 0.6)], start=1):
        job.assign(index)
        job.emit(index, value, metric=own)
        job.end(index)
    assert job.job.not_improving == 1
    launch(job, FIRST)
    job.run(3, 0.7)
    assert job.job.status is TuningJobStatus.COMPLETED
    assert criterion(job) is Criterion.NOT_IMPROVING


def test_failures_of_all_definitions_together_end_a_tuning_job() -> None:
    job = driver(two_definitions(job_spec(jobs=20, parallel=1)), definitions=(FIRST,))
    for index in range(1, 6):
        job.fail(index)
        if index < 5:
            launch(job, (FIRST, SECOND)[index % 2])
    assert job.job.status is TuningJobStatus.FAILED
    assert job.job.failure_reason is not None
    assert job.job.failure_reason.startswith("No training job succeeded after 5 attempts.")


def test_a_trial_is_retried_by_the_terms_of_its_own_definition() -> None:
    terms = RetryTerms(most=1, time_limit=timedelta(hours=1))
    job = driver(two_definitions(job_spec(jobs=4, parallel=2), second_retry_terms=terms))
    job.fail(1, retryable=True)
    assert job.trial(1).failure_kind is FailureKind.RETRYABLE
    job.fail(2, retryable=True)
    assert job.trial(2).secondary_status is SecondaryStatus.PENDING
    assert job.trial(2).retries == 1
    job.fail(2, retryable=True)
    assert job.trial(2).failure_kind is FailureKind.RETRYABLE


def test_attempts_share_the_time_limit_of_their_own_definition() -> None:
    terms = RetryTerms(most=9, time_limit=TICK)
    spec = two_definitions(job_spec(jobs=4, parallel=2, retries=9), second_retry_terms=terms)
    job = driver(spec)
    for index in (1, 2):
        job.assign(index)
        job.reach(index, ev.Stage.TRAINING)
        job.reach(index, ev.Stage.UPLOADING)
        job.lose(index)
    assert job.trial(1).ended_at is None
    assert job.trial(2).failure_kind is FailureKind.RETRYABLE
