"""Every state of a small tuning job: none breaks an invariant, and the tables say what happens."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.server.domain.job_specs import job_spec
from tests.simulation.exploration import reachable
from tunesmith_server.domain import invariants, lifecycle
from tunesmith_server.domain.states import (
    TRAINING_JOB_TRANSITIONS,
    TUNING_JOB_TRANSITIONS,
    Cause,
    SecondaryStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobState, LeaseTerms, TuningJob

Move = tuple[str, str, Cause]


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> set[Move]:
    """Take note of every transition, and by whom."""
    seen: set[Move] = set()
    move_trial, move_job = Trial.moved, TuningJob.moved

    def trial_moved(
        self: Trial,
        to: SecondaryStatus,
        *,
        cause: Cause,
        at: datetime,
        now: datetime,
        message: str,
    ) -> Trial:
        seen.add((self.secondary_status, to, cause))
        return move_trial(self, to, cause=cause, at=at, now=now, message=message)

    def job_moved(
        self: TuningJob, to: TuningJobStatus, *, cause: Cause, now: datetime, name: str
    ) -> TuningJob:
        seen.add((self.status, to, cause))
        return move_job(self, to, cause=cause, now=now, name=name)

    monkeypatch.setattr(Trial, "moved", trial_moved)
    monkeypatch.setattr(TuningJob, "moved", job_moved)
    return seen


def explore(
    monkeypatch: pytest.MonkeyPatch,
    *,
    jobs: int,
    give_up_after: int,
    lease_terms: LeaseTerms | None = None,
    pauses: bool = False,
) -> list[JobState]:
    """Visit all states of a tuning job that gives up sooner than a real one."""
    for module in (lifecycle, invariants):
        monkeypatch.setattr(module, "ATTEMPTS_WITHOUT_SUCCESS", give_up_after)
    hour = timedelta(hours=1)
    spec = job_spec(
        jobs=jobs,
        parallel=2,
        max_runtime=hour,
        lease_terms=lease_terms,
        resumes=pauses,
        pauses=pauses,
        target=1.0 if pauses else None,
    )
    return reachable(spec)


@pytest.mark.timeout(120)
def test_every_entry_of_the_tables_happens(
    monkeypatch: pytest.MonkeyPatch, moves: set[Move]
) -> None:
    for give_up_after in (1, 2):
        states = explore(monkeypatch, jobs=2, give_up_after=give_up_after)
        ends = {state.job.status for state in states}
        assert ends == set(TuningJobStatus)
    for offers_again in (True, False):
        terms = LeaseTerms(duration=timedelta(minutes=1), offers_again=offers_again)
        states = explore(monkeypatch, jobs=2, give_up_after=1, lease_terms=terms)
        assert {state.job.status for state in states} == set(TuningJobStatus)
    states = explore(monkeypatch, jobs=2, give_up_after=1, pauses=True)
    assert {state.job.status for state in states} == set(TuningJobStatus)
    allowed = {
        (start, end, cause)
        for table in (TUNING_JOB_TRANSITIONS, TRAINING_JOB_TRANSITIONS)
        for (start, end), causes in table.items()
        for cause in causes
    }
    assert moves == allowed


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_state_of_three_training_jobs_breaks_an_invariant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(explore(monkeypatch, jobs=3, give_up_after=2)) > 5_000
