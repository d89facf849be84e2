"""The invariants themselves: each finds what is wrong, and says what and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.server.domain.job_specs import job_spec
from tests.server.domain.tuning_job_driver import Driver
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.invariants import InvariantBroken, check_invariants
from tunesmith_server.domain.states import ObjectiveStatus, SecondaryStatus, TuningJobStatus
from tunesmith_server.domain.trial import Lease, Trial
from tunesmith_server.domain.tuning_job import Closing, JobState

SECOND = timedelta(seconds=1)


def running() -> Driver:
    """Give a tuning job with a best, a trial that runs and one that waits."""
    job = Driver(job_spec(jobs=9, parallel=2))
    job.suggest()
    job.run(1, 0.5)
    job.suggest()
    job.assign(2)
    job.reach(2, ev.Stage.TRAINING)
    job.emit(2, 0.25)
    return job


def of_job(state: JobState, **changes: object) -> JobState:
    return replace(state, job=replace(state.job, **changes))  # type: ignore[arg-type]


def of_counters(state: JobState, **changes: int) -> JobState:
    return of_job(state, counters=replace(state.job.counters, **changes))


def of_best(state: JobState, **changes: object) -> JobState:
    assert state.job.best is not None
    return of_job(state, best=replace(state.job.best, **changes))  # type: ignore[arg-type]


def of_trial(state: JobState, index: int, /, **changes: object) -> JobState:
    trials = dict(state.trials)
    (name,) = (name for name, trial in trials.items() if trial.index == index)
    trials[name] = replace(trials[name], **changes)  # type: ignore[arg-type]
    return replace(state, trials=trials)


def with_transition(state: JobState, index: int, number: int, **changes: object) -> JobState:
    trial = trial_of(state, index)
    changed = list(trial.transitions)
    changed[number] = replace(changed[number], **changes)  # type: ignore[arg-type]
    return of_trial(state, index, transitions=tuple(changed))


def trial_of(state: JobState, index: int) -> Trial:
    return next(trial for trial in state.trials.values() if trial.index == index)


def renamed(state: JobState) -> JobState:
    return replace(state, trials={f"{name}x": trial for name, trial in state.trials.items()})


def without_trials(state: JobState) -> JobState:
    return replace(state, trials={})


RUNNING, WAITING = 2, 3
FAILING = Closing(status=TuningJobStatus.FAILED, reason="it broke")
COMPLETING = Closing(status=TuningJobStatus.COMPLETED)

#: How a sound state is spoilt, and the claim that no longer holds.
SPOILT: list[tuple[str, Callable[[JobState], JobState]]] = [
    (
        "ended_at is set exactly when it has ended",
        lambda s: of_job(s, ended_at=s.job.modified_at),
    ),
    (
        "failure_reason is set exactly when it failed",
        lambda s: of_job(s, failure_reason="it broke"),
    ),
    ("it ends as was decided", lambda s: of_job(s, status=TuningJobStatus.COMPLETED)),
    (
        "a decided end is terminal",
        lambda s: of_job(s, closing=Closing(status=TuningJobStatus.STOPPING)),
    ),
    (
        "a decided failure alone has a reason",
        lambda s: of_job(s, closing=replace(FAILING, reason=None)),
    ),
    (
        "it is to be Stopped exactly when a caller stopped it",
        lambda s: of_job(s, closing=Closing(status=TuningJobStatus.STOPPED)),
    ),
    (
        "it has ended once that is decided and nothing is open",
        lambda s: of_job(without_trials(s), closing=COMPLETING),
    ),
    ("its times are in order", lambda s: of_job(s, modified_at=s.job.created_at - SECOND)),
    ("it ends with its last change", lambda s: of_job(s, ended_at=s.job.created_at)),
    ("every launched trial is open or counted as ended", lambda s: of_job(s, launched=4)),
    (
        "every ended trial has an objective or lacks one",
        lambda s: of_counters(s, objective_failed=1),
    ),
    (
        "failed trials have no objective",
        lambda s: of_counters(s, completed=0, retryable_error=1),
    ),
    ("launch indices differ", lambda s: of_trial(s, WAITING, index=RUNNING)),
    (
        "at most max_parallel trials have a place",
        lambda s: replace(s, spec=replace(s.spec, max_parallel=1)),
    ),
    (
        "at most max_training_jobs are launched",
        lambda s: replace(s, spec=replace(s.spec, max_training_jobs=2)),
    ),
    ("suggestions are asked for as there is room", lambda s: replace(s, suggestions_wanted=1)),
    (
        "there is no room for which nothing was asked",
        lambda s: replace(s, spec=replace(s.spec, max_parallel=3)),
    ),
    ("it goes on only while something is open or to come", without_trials),
    (
        "it gives up after enough failures without a success",
        lambda s: of_counters(s, completed=0, objective_succeeded=0, retryable_error=5),
    ),
    (
        "the best training job is known once one completed with an objective",
        lambda s: of_job(s, best=None),
    ),
    (
        "the best training job completed, or was stopped with all its resource spent",
        lambda s: of_best(s, secondary_status=SecondaryStatus.STOPPED),
    ),
    ("its objective is finite", lambda s: of_best(s, objective_value=float("nan"))),
    ("it has ended", lambda s: of_best(s, ended_at=None)),
    ("it is one of those launched", lambda s: of_best(s, index=4)),
    ("it is counted", lambda s: of_counters(s, completed=0)),
    ("it is kept under its name", renamed),
    ("it has the name of its index", lambda s: of_trial(s, WAITING, index=1)),
    ("it was launched", lambda s: of_trial(s, WAITING, index=4)),
    ("it is open", lambda s: of_trial(s, WAITING, ended_at=s.job.modified_at)),
    (
        "nothing is said yet about its end",
        lambda s: of_trial(s, RUNNING, objective_status=ObjectiveStatus.SUCCEEDED),
    ),
    (
        "somebody holds it exactly while it does not wait",
        lambda s: of_trial(s, RUNNING, lease=None),
    ),
    (
        "its lease is the latest",
        lambda s: of_trial(s, RUNNING, lease=Lease(token=2, runner_name="a", instance_id="a")),
    ),
    ("each lease has one start", lambda s: of_trial(s, WAITING, lease_token=1)),
    (
        "nothing that an earlier attempt measured is left while it waits, unless it resumes",
        lambda s: of_trial(s, WAITING, metrics=trial_of(s, RUNNING).metrics),
    ),
    (
        "no program of it runs while it waits",
        lambda s: of_trial(s, WAITING, training_started_at=s.job.created_at),
    ),
    (
        "what rests was to",
        lambda s: of_trial(s, WAITING, secondary_status=SecondaryStatus.INTERRUPTED),
    ),
    (
        "what waits for a runner is not to rest",
        lambda s: of_trial(s, WAITING, pause_requested=True),
    ),
    (
        "only what can go on from a rung is paused, for a reason",
        lambda s: of_trial(s, RUNNING, pause_requested=True),
    ),
    ("what is to stop is Stopping", lambda s: of_trial(s, RUNNING, stop_requested=True)),
    (
        "it is to stop once the tuning job's end is decided",
        lambda s: of_job(s, closing=COMPLETING),
    ),
    (
        "its measurements are counted from 1",
        lambda s: of_trial(
            s,
            RUNNING,
            metrics={
                name: replace(latest, step=0)
                for name, latest in trial_of(s, RUNNING).metrics.items()
            },
        ),
    ),
    ("each measurement came in a report", lambda s: of_trial(s, RUNNING, reported_sequence=0)),
    (
        "its story begins when it was launched, waiting",
        lambda s: with_transition(s, RUNNING, 0, status=SecondaryStatus.STARTING),
    ),
    (
        "its story ends with where it is",
        lambda s: of_trial(s, RUNNING, secondary_status=SecondaryStatus.UPLOADING),
    ),
    ("its story has no gaps", lambda s: with_transition(s, RUNNING, 1, ended_at=None)),
    (
        "no span ends before it began",
        lambda s: with_transition(s, RUNNING, 1, started_at=s.job.modified_at + 9999 * SECOND),
    ),
    (
        "its story keeps to the table",
        lambda s: with_transition(s, RUNNING, 1, status=SecondaryStatus.UPLOADING),
    ),
    (
        "its last change is not before its last transition",
        lambda s: of_trial(s, RUNNING, modified_at=s.job.created_at),
    ),
    (
        "its program started between its launch and its last change",
        lambda s: of_trial(s, RUNNING, training_started_at=s.job.created_at - SECOND),
    ),
]


def test_a_sound_state_passes() -> None:
    check_invariants(running().state)


@pytest.mark.parametrize(("claim", "spoil"), SPOILT, ids=[claim for claim, _ in SPOILT])
def test_what_is_wrong_is_named(claim: str, spoil: Callable[[JobState], JobState]) -> None:
    state = spoil(running().state)
    with pytest.raises(InvariantBroken) as found:
        check_invariants(state)
    assert any(line.endswith(f": it does not hold that {claim}") for line in found.value.broken)


def test_all_that_is_wrong_is_listed_with_where() -> None:
    job = running()
    state = of_trial(of_job(job.state, launched=4), RUNNING, reported_sequence=0)
    with pytest.raises(InvariantBroken) as found:
        check_invariants(state)
    assert found.value.broken == (
        "digits: it does not hold that every launched trial is open or counted as ended",
        f"{job.name(RUNNING)}: it does not hold that each measurement came in a report",
    )
    assert str(found.value) == "; ".join(found.value.broken)
