"""Why a training job has no objective: one sentence for each way, with lines where there are some."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.domain.job_specs import METRIC, job_spec
from tests.server.domain.tuning_job_driver import Driver, ended
from tunesmith_server.domain import events as ev
from tunesmith_server.domain import views
from tunesmith_server.domain.objective_failures import (
    OBJECTIVE_FAILURE_LENGTH,
    objective_failure,
)
from tunesmith_server.domain.states import ObjectiveStatus
from tunesmith_server.domain.tuning_job import LeaseTerms

NEVER = f'The objective metric "{METRIC}" was never found in the output'
CANNOT_BE_RANKED = (
    f'The last value of the objective metric "{METRIC}" is {{}}, by which training jobs cannot be '
    "ranked."
)
MISSING = ev.ObjectiveMissing(
    nearest_lines=(
        ev.NearestLine(
            line="acc: 0.9", matched_text="acc", unmatched_pattern="=(.*)", captured=None
        ),
        ev.NearestLine(
            line="acc=n/a", matched_text="acc=n/a", unmatched_pattern="", captured="n/a"
        ),
    ),
    last_lines=("\tacc: 0.9", "acc=n/a", "bye\x1b[31m"),
)


def started() -> Driver:
    """Give a tuning job whose first trial runs its program."""
    job = Driver(job_spec(jobs=4, parallel=2))
    job.suggest()
    job.assign(1)
    job.reach(1, ev.Stage.TRAINING)
    return job


def why(job: Driver, index: int = 1) -> str:
    trial = job.trial(index)
    assert trial.objective_status is ObjectiveStatus.FAILED
    assert trial.objective_failure_reason is not None
    return trial.objective_failure_reason


@pytest.mark.parametrize(
    "outcome",
    [
        ev.Outcome.COMPLETED,
        ev.Outcome.STOPPED,
        ev.Outcome.MAX_RUNTIME_EXCEEDED,
        ev.Outcome.FAILED,
    ],
)
def test_an_objective_that_was_never_found_has_the_lines_attached(outcome: ev.Outcome) -> None:
    job = started()
    job.emit(1, 1.0, metric="another")
    job.report(1, replace(ended(outcome), objective_missing=MISSING))
    assert why(job) == "\n".join(
        (
            f"{NEVER}.",
            "Nearest lines:",
            "  acc: 0.9",
            "    found 'acc', but not =(.*) after it",
            "  acc=n/a",
            "    the pattern is found, but captures 'n/a', which is no number",
            "Last lines:",
            "  \tacc: 0.9",
            "  acc=n/a",
            "  bye\x1b[31m",
        )
    )


def test_of_an_empty_output_there_are_no_lines_and_an_old_runner_sends_none() -> None:
    silent = started()
    silent.report(1, replace(ended(ev.Outcome.COMPLETED), objective_missing=ev.ObjectiveMissing()))
    assert why(silent) == f"{NEVER}, which is empty."
    old = started()
    old.end(1)
    assert why(old) == f"{NEVER}."


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_last_value_that_cannot_be_ranked_is_named(value: float) -> None:
    job = started()
    job.emit(1, 0.5, value)
    job.end(1)
    assert why(job) == CANNOT_BE_RANKED.format(value)


def test_a_value_of_a_failed_training_job_does_not_count() -> None:
    job = started()
    job.emit(1, 0.5)
    job.end(1, ev.Outcome.FAILED)
    assert why(job) == (
        f'The training job failed: the value 0.5 of the objective metric "{METRIC}" that it had '
        "emitted does not count."
    )


def test_a_program_that_never_ran_is_not_blamed() -> None:
    job = started()
    job.stop(2)
    assert why(job, 2) == "The training job ended before its program was started."


def test_of_a_lost_runner_no_lines_are_known() -> None:
    job = started()
    job.lose(1)
    assert why(job) == f"{NEVER}."


def test_a_training_job_with_an_objective_says_nothing() -> None:
    job = started()
    job.emit(1, 0.5)
    job.end(1)
    assert job.trial(1).objective_status is ObjectiveStatus.SUCCEEDED
    assert job.trial(1).objective_failure_reason is None


def test_what_a_retried_attempt_wrote_is_not_kept() -> None:
    job = Driver(job_spec(jobs=1, parallel=1, retries=1))
    job.suggest()
    for _ in range(2):
        job.assign(1)
        job.reach(1, ev.Stage.TRAINING)
        assert job.trial(1).objective_failure_reason is None
        report = replace(ended(ev.Outcome.FAILED, retryable=True), objective_missing=MISSING)
        job.report(1, report)
    assert why(job).startswith(f"{NEVER}.")


def test_the_summary_says_it() -> None:
    job = started()
    job.end(1)
    summary = views.training_job_summary(
        job.trial(1), tuning_job_name="a", arn="b", metric_name=METRIC
    )
    assert summary.objective_failure_reason == f"{NEVER}."


_lines = st.text(max_size=160)
_nearest = st.builds(
    ev.NearestLine,
    line=_lines,
    matched_text=st.text(max_size=80),
    unmatched_pattern=st.text(max_size=80),
    captured=st.none() | st.text(max_size=80),
)


@given(
    missing=st.builds(
        ev.ObjectiveMissing,
        nearest_lines=st.lists(_nearest, max_size=3).map(tuple),
        last_lines=st.lists(_lines, max_size=10).map(tuple),
    ),
    metric=st.text(min_size=1, max_size=255),
)
def test_whatever_a_runner_sends_the_text_is_as_long_as_the_contract_allows(
    missing: ev.ObjectiveMissing, metric: str
) -> None:
    job = started()
    job.end(1)
    told = objective_failure(job.trial(1), metric, by_caller=False, missing=missing)
    assert 0 < len(told) <= OBJECTIVE_FAILURE_LENGTH


def lent() -> Driver:
    """Give a tuning job whose first trial a caller holds."""
    terms = LeaseTerms(duration=timedelta(hours=1), offers_again=False)
    job = Driver(job_spec(jobs=4, parallel=2, lease_terms=terms))
    configuration = {"learning_rate": "1e-3"}
    job.decide(
        ev.TrialsRequested(
            client_id="caller", count=1, first_index=1, configurations=(configuration,)
        )
    )
    return job


@pytest.mark.parametrize(
    ("verdict", "value", "reason", "told"),
    [
        (
            *(ev.Verdict.MEASURED, math.nan, ""),
            CANNOT_BE_RANKED.format("nan"),
        ),
        (
            *(ev.Verdict.FAILED, None, "no memory"),
            f'The caller gave no value of the objective metric "{METRIC}".',
        ),
        (
            *(ev.Verdict.INFEASIBLE, None, "too large"),
            "The caller completed the trial as infeasible: too large",
        ),
        (ev.Verdict.INFEASIBLE, None, "", "The caller completed the trial as infeasible."),
    ],
)
def test_a_caller_that_ends_a_trial_without_a_value_is_named(
    verdict: ev.Verdict, value: float | None, reason: str, told: str
) -> None:
    job = lent()
    job.decide(
        ev.TrialCompleted(
            trial_name=job.name(1), lease_token=1, verdict=verdict, value=value, reason=reason
        )
    )
    assert why(job) == told


def test_a_caller_that_falls_silent_gave_no_value() -> None:
    job = lent()
    job.decide(ev.LeaseExpired(trial_name=job.name(1), lease_token=1))
    assert why(job) == f'The caller gave no value of the objective metric "{METRIC}".'
