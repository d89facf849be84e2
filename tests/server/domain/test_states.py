"""The tables of states: what is allowed, what is not, and that the documentation shows them."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise, product
from pathlib import Path

import pytest

from tests.server.domain.job_specs import CREATED_AT
from tests.server.domain.lifecycle_drawing import HELD, drawings
from tunesmith_server.domain.lifecycle import ATTEMPTS_WITHOUT_SUCCESS, NO_SUCCESS
from tunesmith_server.domain.states import (
    STATUS_OF,
    TRAINING_JOB_TRANSITIONS,
    TUNING_JOB_TRANSITIONS,
    Cause,
    IllegalTransition,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.trial import Trial, launch
from tunesmith_server.domain.tuning_job import TuningJob

DOCUMENT = Path(__file__).parents[3] / "docs" / "lifecycle.md"
LATER = CREATED_AT + timedelta(minutes=1)

TRIAL_PAIRS = list(product(SecondaryStatus, SecondaryStatus))
JOB_PAIRS = list(product(TuningJobStatus, TuningJobStatus))


def trial_in(status: SecondaryStatus) -> Trial:
    """Bring a new trial into a status by the shortest way that the table allows."""
    trial = launch(
        name="digits-001-0123abcd", index=1, definition_name=None, parameters={}, now=CREATED_AT
    )
    for start, end in pairwise(path_to(status)):
        cause = min(TRAINING_JOB_TRANSITIONS[start, end])
        trial = trial.moved(end, cause=cause, at=CREATED_AT, now=CREATED_AT, message="")
    return trial


def path_to(status: SecondaryStatus) -> tuple[SecondaryStatus, ...]:
    paths: deque[tuple[SecondaryStatus, ...]] = deque([(SecondaryStatus.PENDING,)])
    while paths:
        path = paths.popleft()
        if path[-1] is status:
            return path
        nexts = [end for start, end in TRAINING_JOB_TRANSITIONS if start is path[-1]]
        paths.extend((*path, end) for end in nexts if end not in path)
    raise AssertionError(f"no way leads to {status}")


def job_in(status: TuningJobStatus) -> TuningJob:
    return TuningJob(job_id=1, status=status, created_at=CREATED_AT, modified_at=CREATED_AT)


@pytest.mark.parametrize(("start", "end"), TRIAL_PAIRS)
def test_a_training_job_moves_as_the_table_says_and_not_otherwise(
    start: SecondaryStatus, end: SecondaryStatus
) -> None:
    trial = trial_in(start)
    allowed = TRAINING_JOB_TRANSITIONS.get((start, end), frozenset())
    for cause in allowed:
        moved = trial.moved(end, cause=cause, at=LATER, now=LATER, message="moved")
        assert moved.secondary_status is end
        assert moved.story() == (*trial.story(), end)
        assert moved.transitions[-2].ended_at == LATER
        assert moved.transitions[-1].started_at == LATER
        assert moved.transitions[-1].message == "moved"
        assert moved.modified_at == LATER
        ended_at = LATER if STATUS_OF[end].is_terminal else None
        assert moved.ended_at == moved.transitions[-1].ended_at == ended_at
    for cause in set(Cause) - allowed:
        with pytest.raises(IllegalTransition) as refusal:
            trial.moved(end, cause=cause, at=LATER, now=LATER, message="moved")
        assert refusal.value.item == trial.name
        assert refusal.value.story == trial.story()
        told = f"{trial.name}: {start} -> {end} by {cause} is not allowed"
        assert str(refusal.value) == f"{told}; its story: {' -> '.join(trial.story())}"


@pytest.mark.parametrize(("start", "end"), JOB_PAIRS)
def test_a_tuning_job_moves_as_the_table_says_and_not_otherwise(
    start: TuningJobStatus, end: TuningJobStatus
) -> None:
    job = job_in(start)
    allowed = TUNING_JOB_TRANSITIONS.get((start, end), frozenset())
    for cause in allowed:
        ended_at = LATER if end.is_terminal else None
        assert job.moved(end, cause=cause, now=LATER, name="digits") == replace(
            job, status=end, modified_at=LATER, ended_at=ended_at
        )
    for cause in set(Cause) - allowed:
        with pytest.raises(IllegalTransition) as refusal:
            job.moved(end, cause=cause, now=LATER, name="digits")
        told = f"digits: {start} -> {end} by {cause} is not allowed; its story: {start}"
        assert str(refusal.value) == told


def test_terminal_statuses_are_left_by_nobody() -> None:
    assert not any(STATUS_OF[start].is_terminal for start, _ in TRAINING_JOB_TRANSITIONS)
    assert not any(start.is_terminal for start, _ in TUNING_JOB_TRANSITIONS)


def test_every_training_job_can_end_from_wherever_it_is() -> None:
    for status in SecondaryStatus:
        if not STATUS_OF[status].is_terminal:
            ends = {end for start, end in TRAINING_JOB_TRANSITIONS if start is status}
            assert any(STATUS_OF[end].is_terminal for end in ends)


def test_every_secondary_status_has_one_first_level_status() -> None:
    assert set(STATUS_OF) == set(SecondaryStatus)
    assert set(STATUS_OF.values()) == set(TrainingJobStatus)


def test_a_runner_can_end_or_give_back_whatever_it_holds() -> None:
    assert set(HELD) == {
        SecondaryStatus.STARTING,
        SecondaryStatus.DOWNLOADING,
        SecondaryStatus.TRAINING,
        SecondaryStatus.UPLOADING,
        SecondaryStatus.STOPPING,
    }
    for held in HELD:
        for end in ("Completed", "Failed", "Stopped", "MaxRuntimeExceeded", "Interrupted"):
            assert Cause.RUNNER in TRAINING_JOB_TRANSITIONS[held, SecondaryStatus(end)]


def test_only_the_engine_starts_and_only_a_runner_completes() -> None:
    for (_, end), who in TRAINING_JOB_TRANSITIONS.items():
        if end is SecondaryStatus.STARTING:
            assert who == {Cause.ENGINE}
        if end in (SecondaryStatus.COMPLETED, SecondaryStatus.FAILED):
            assert who == {Cause.RUNNER}
        if end is SecondaryStatus.PENDING:
            assert who == {Cause.RUNNER, Cause.ENGINE}, "a paused one goes on by the engine's word"


def test_the_documentation_shows_the_tables() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = dict(re.findall(r"<!-- drawn: ([a-z ]+) -->\n(.*?)\n?<!-- end -->", text, re.DOTALL))
    assert shown == drawings(), "write what is expected between the marks of docs/lifecycle.md"


def test_the_documentation_quotes_the_words_of_giving_up() -> None:
    words = NO_SUCCESS.format(attempts=ATTEMPTS_WITHOUT_SUCCESS)
    assert words in DOCUMENT.read_text(encoding="utf-8")
    assert words == (
        "No training job succeeded after 5 attempts. "
        "Please take a look at the training job failures to get more details."
    )
