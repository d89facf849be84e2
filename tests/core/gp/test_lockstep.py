"""Minimisers in lockstep go the way that each goes alone."""

import itertools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tunesmith_core.gp.fit import fit
from tunesmith_core.gp.lockstep import Function, Value, in_lockstep
from tunesmith_core.gp.parameters import layout_of
from tunesmith_core.gp.priors import Prior, PriorSettings, prior_of
from tunesmith_core.space import Continuous, SearchSpace
from tunesmith_core.space.scaling import F64

PRIOR = prior_of(
    layout_of(SearchSpace((Continuous(name="x", lo=0, hi=1), Continuous(name="y", lo=0, hi=1)))),
    PriorSettings(),
)


class Bent:
    """A function with several valleys that stands for a likelihood."""

    def __init__(self, bend: float) -> None:
        self.prior: Prior = PRIOR
        self.bend = bend
        self.points: list[F64] = []

    def negative_log_posterior(self, theta: F64) -> Value:
        self.points.append(theta.copy())
        value = 0.5 * self.bend * float(theta @ theta) + float(np.cos(3 * theta).sum())
        return value, self.bend * theta - 3 * np.sin(3 * theta)


class Given:
    """The same, by a function from elsewhere."""

    def __init__(self, function: Function) -> None:
        self.prior: Prior = PRIOR
        self.negative_log_posterior = function


def work(start: F64) -> Callable[[Function], F64]:
    return lambda function: fit(Given(function), [start], max_evaluations=30)


def test_each_takes_the_steps_that_it_takes_alone() -> None:
    starts = list(np.random.default_rng(1).standard_normal((7, len(PRIOR.mean))))
    together, alone = ([Bent(1.0 + number) for number in range(7)] for _ in range(2))
    rounds: list[list[int]] = []

    def evaluate(which: Sequence[int], points: Sequence[F64]) -> list[Value]:
        rounds.append(list(which))
        return [
            together[index].negative_log_posterior(point)
            for index, point in zip(which, points, strict=True)
        ]

    found = in_lockstep([work(start) for start in starts], evaluate)
    for got, start, ours, own in zip(found, starts, together, alone, strict=True):
        assert np.array_equal(got, fit(own, [start], max_evaluations=30))
        assert np.array_equal(ours.points, own.points)
    assert rounds[0] == list(range(7))
    # Whoever is done is not evaluated any more, and nobody waits for who is not.
    assert len(rounds) == max(len(each.points) for each in alone)
    assert all(now == sorted(set(now) & set(before)) for before, now in itertools.pairwise(rounds))
    assert sum(map(len, rounds)) == sum(len(each.points) for each in alone)


def test_nothing_to_do_is_done() -> None:
    assert in_lockstep([], lambda _which, _points: []) == []


def test_work_that_calls_nothing_is_waited_for() -> None:
    def evaluate(which: Sequence[int], points: Sequence[F64]) -> list[Value]:
        return [(float(index), point) for index, point in zip(which, points, strict=True)]

    works: list[Callable[[Function], float]] = [
        lambda _: 7.0,
        lambda function: function(np.zeros(1))[0],
        lambda _: 8.0,
        lambda function: sum(function(np.zeros(1))[0] for _ in range(3)),
    ]
    assert in_lockstep(works, evaluate) == [7.0, 1.0, 8.0, 9.0]


@pytest.mark.parametrize("is_by_evaluation", [False, True])
def test_an_error_ends_all_work(*, is_by_evaluation: bool) -> None:
    before = threading.active_count()
    seen: list[int] = []

    def evaluate(which: Sequence[int], points: Sequence[F64]) -> list[Value]:
        seen.extend(which)
        if is_by_evaluation:
            raise ZeroDivisionError
        return [(0.0, point) for point in points]

    def broken(function: Function) -> F64:
        function(np.zeros(1))
        raise ZeroDivisionError

    def endless(function: Function) -> F64:
        while True:
            function(np.zeros(1))

    with pytest.raises(ZeroDivisionError):
        in_lockstep([endless, broken, endless], evaluate)
    assert seen == [0, 1, 2]
    assert threading.active_count() == before
