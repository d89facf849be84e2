"""What an optimiser is told of a tuning job: each training job once, in one order."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.domain.job_specs import CREATED_AT
from tunesmith_server.domain.history import (
    Abandoned,
    End,
    Knowledge,
    News,
    Outcome,
    Told,
    Trace,
    learn,
    new_traces,
)
from tunesmith_server.domain.states import TrainingJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import FailureKind

S = TrainingJobStatus
HOST, PROGRAM = FailureKind.RETRYABLE, FailureKind.NON_RETRYABLE


def outcome(
    index: int,
    status: TrainingJobStatus = S.IN_PROGRESS,
    *,
    value: float | None = None,
    kind: FailureKind | None = None,
    at_s: int = 0,
    is_resting: bool = False,
) -> Outcome:
    return Outcome(
        index=index,
        suggestion=Suggestion(parameters={"x": str(index)}),
        status=status,
        failure_kind=kind,
        objective_value=value,
        modified_at=CREATED_AT + timedelta(seconds=at_s),
        is_resting=is_resting,
    )


def completed(index: int, *, at_s: int = 0) -> Outcome:
    return outcome(index, S.COMPLETED, value=float(index), at_s=at_s)


def learnt(*outcomes: Outcome, knowledge: Knowledge | None = None) -> News:
    news = learn(knowledge or Knowledge(), outcomes)
    assert news is not None
    return news


def indices(news: News) -> list[int]:
    return [int(end.suggestion.parameters["x"]) for end in news.ends]


X = Suggestion(parameters={"x": "1"})


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (outcome(1, S.COMPLETED, value=2.5), Told(suggestion=X, value=2.5)),
        (outcome(1, S.COMPLETED), Told(suggestion=X, value=None)),
        (outcome(1, S.FAILED, kind=PROGRAM), Told(suggestion=X, value=None)),
        (outcome(1, S.FAILED, kind=HOST), Abandoned(suggestion=X)),
        (outcome(1, S.STOPPED, value=2.5), Told(suggestion=X, value=2.5)),
        (outcome(1, S.STOPPED), Abandoned(suggestion=X)),
    ],
)
def test_an_end_says_what_it_can(ended: Outcome, told: End) -> None:
    news = learnt(ended)
    assert news.ends == (told,)
    assert news.pending == ()
    assert news.knowledge.has_value == (ended.objective_value is not None)


@pytest.mark.parametrize("status", [S.IN_PROGRESS, S.STOPPING])
def test_what_has_not_ended_is_pending(status: TrainingJobStatus) -> None:
    news = learnt(outcome(1, status))
    assert (news.ends, news.pending) == ((), (X,))


def test_ends_come_in_the_order_in_which_they_were_noted_and_then_of_launch() -> None:
    news = learnt(
        completed(3, at_s=5),
        outcome(5),
        completed(1, at_s=9),
        outcome(2),
        completed(4, at_s=5),
    )
    assert indices(news) == [3, 4, 1]
    assert [each.parameters["x"] for each in news.pending] == ["2", "5"]


def test_what_is_known_is_not_told_again() -> None:
    first = learnt(completed(1, at_s=1), outcome(2), completed(3, at_s=2))
    assert first.knowledge.first_unknown == 2
    second = learnt(
        completed(2, at_s=3), completed(3, at_s=2), outcome(4), knowledge=first.knowledge
    )
    assert indices(second) == [2]
    assert second.knowledge.first_unknown == 4
    assert second.knowledge.has_value


def test_nothing_new_changes_nothing() -> None:
    first = learnt(completed(1))
    assert learnt(knowledge=first.knowledge) == News(ends=(), pending=(), knowledge=first.knowledge)


def test_an_end_before_one_that_is_known_is_told_from_the_beginning() -> None:
    known = learnt(outcome(1), completed(2, at_s=5)).knowledge
    assert learn(known, [completed(1, at_s=4), completed(2, at_s=5)]) is None
    assert learn(known, [completed(1, at_s=5), completed(2, at_s=5)]) is None
    assert indices(learnt(completed(1, at_s=4), completed(2, at_s=5))) == [1, 2]


@pytest.mark.parametrize(
    ("status", "is_whole", "is_stopped"),
    [(S.STOPPED, False, True), (S.STOPPED, True, False), (S.COMPLETED, False, False)],
)
def test_an_end_under_hyperband_says_how_far_it_came(
    status: TrainingJobStatus, *, is_whole: bool, is_stopped: bool
) -> None:
    ended = outcome(1, status, value=2.5)
    assert new_traces(Knowledge(), [ended, outcome(2)]) == [1]
    news = learn(Knowledge(), [ended], {1: Trace(rungs=(4.0, 3.0), is_whole=is_whole)})
    assert news is not None
    assert news.ends == (Told(suggestion=X, value=2.5, rungs=(4.0, 3.0), is_stopped=is_stopped),)


def test_who_rests_tells_its_last_rung_and_who_goes_on_tells_more() -> None:
    def read(now: Outcome, rungs: tuple[float, ...], knowledge: Knowledge) -> News:
        assert new_traces(knowledge, [now]) == ([1] if rungs else [])
        news = learn(knowledge, [now], {1: Trace(rungs=rungs)} if rungs else None)
        assert news is not None
        return news

    resting = outcome(1, is_resting=True)
    first = read(resting, (4.0,), Knowledge())
    assert first.ends == (Told(suggestion=X, value=4.0, rungs=(4.0,), is_stopped=True),)
    assert (first.pending, first.knowledge.has_value) == ((), True)
    assert read(resting, (4.0,), first.knowledge).ends == ()
    goes_on = read(outcome(1), (), first.knowledge)
    assert (goes_on.ends, goes_on.pending) == ((), ())
    again = read(resting, (4.0, 3.0), goes_on.knowledge)
    told = Told(suggestion=X, value=3.0, rungs=(4.0, 3.0), is_stopped=True, is_again=True)
    assert again.ends == (told,)
    ended = read(outcome(1, S.COMPLETED, value=2.0), (4.0, 3.0), again.knowledge)
    assert ended.ends == (Told(suggestion=X, value=2.0, rungs=(4.0, 3.0), is_again=True),)
    assert ended.knowledge.rested == {}


@settings(deadline=None, derandomize=True)
@given(data=st.data())
def test_however_often_it_is_read_each_training_job_is_known_in_one_way_and_in_one_order(
    data: st.DataObject,
) -> None:
    count = data.draw(st.integers(1, 8))
    order = data.draw(st.permutations(range(1, count + 1)))
    ends_at = {index: at for at, index in enumerate(order, start=1)}
    all_at_once = learnt(*(completed(index, at_s=ends_at[index]) for index in order))
    knowledge, told = Knowledge(), list[int]()
    for now in range(count + 1):
        if now < count and not data.draw(st.booleans()):
            continue
        launched = [
            completed(index, at_s=at) if at <= now else outcome(index)
            for index, at in sorted(ends_at.items())
            if index >= knowledge.first_unknown
        ]
        news = learnt(*launched, knowledge=knowledge)
        told += indices(news)
        knowledge = news.knowledge
        pending = {int(each.parameters["x"]) for each in news.pending}
        assert pending | set(told) == set(ends_at)
        assert not pending & set(told)
    assert told == indices(all_at_once)
    assert knowledge == all_at_once.knowledge
