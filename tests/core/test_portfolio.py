"""Searches of several definitions: each trial goes where the most is expected of it."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.objective import Goal
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.portfolio import START, Choice, Portfolio
from tunesmith_core.space.ranges import Categorical, Configuration, Continuous, SearchSpace

# The kernels may have to be compiled.
pytestmark = pytest.mark.timeout(180)

X = SearchSpace((Continuous(name="x", lo=-1.0, hi=1.0),))
Z = SearchSpace((Continuous(name="z", lo=-1.0, hi=1.0), Continuous(name="u", lo=0.0, hi=1.0)))


def portfolio(*, seed: int = 3, goal: Goal = Goal.MINIMIZE) -> Portfolio:
    return Portfolio(
        {"a": Optimizer(X, seed=seed, goal=goal), "b": Optimizer(Z, seed=seed, goal=goal)}
    )


def value(name: str | None, configuration: Configuration, *, scale: float = 1.0) -> float:
    """Give a loss, of which ``b`` can reach 0 and ``a`` no less than 1, in any unit."""
    if name == "a":
        return scale * (1.0 + float(configuration["x"]) ** 2)
    return scale * ((float(configuration["z"]) - 0.4) ** 2 + 0.1 * float(configuration["u"]))


def run(
    searched: Portfolio, count: int, *, scale: float = 1.0, failing: str | None = None
) -> list[Choice]:
    done = []
    sign = 1.0 if searched.optimizers["a"].goal is Goal.MINIMIZE else -1.0
    for _ in range(count):
        ((name, configuration),) = searched.ask()
        got = None if name == failing else sign * value(name, configuration, scale=scale)
        searched.optimizers[name].tell(configuration, got)
        done.append((name, configuration))
    return done


def division(choices: list[Choice]) -> Counter[str | None]:
    return Counter(name for name, _ in choices)


def test_each_has_its_first_trials_and_then_the_better_one_most() -> None:
    for seed in range(3):
        done = run(portfolio(seed=seed), 20)
        assert division(done[: 2 * START]) == {"a": START, "b": START}
        assert division(done)["b"] >= 14


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_neither_the_unit_nor_the_goal_decides(goal: Goal, scale: float) -> None:
    assert division(run(portfolio(goal=goal), 14, scale=scale))["b"] >= 9


def test_one_that_only_fails_is_left_alone() -> None:
    assert division(run(portfolio(), 12, failing="b")) == {"a": 12 - START, "b": START}


def test_what_is_pending_counts_as_tried() -> None:
    searched = portfolio()
    asked = searched.ask(6)
    assert division(asked) == {"a": 3, "b": 3}
    assert {name: each.known for name, each in searched.optimizers.items()} == {"a": 3, "b": 3}
    run(searched, 4)
    more = searched.ask(4)
    for name in ("a", "b"):
        tried = [tuple(configuration.values()) for which, configuration in more if which == name]
        assert len(set(tried)) == len(tried)


def test_quasi_random_suggestions_go_by_turns() -> None:
    searched = portfolio()
    run(searched, 8)
    known = {name: each.known for name, each in searched.optimizers.items()}
    searched.ask(10, quasi_random=True)
    after = [each.known for each in searched.optimizers.values()]
    assert sum(after) == sum(known.values()) + 10
    assert math.isclose(after[0], after[1], abs_tol=1)


def test_it_is_told_at_once_as_it_was_told_one_by_one() -> None:
    one, other = portfolio(), portfolio()
    for name, configuration in run(one, 15):
        other.optimizers[name].tell(configuration, value(name, configuration))
    assert one.ask(3) == other.ask(3)


def test_small_spaces_are_used_up_together() -> None:
    def kinds(count: int) -> SearchSpace:
        return SearchSpace((Categorical(name="kind", values=tuple("abcde"[:count])),))

    searched = Portfolio(
        {"a": Optimizer(kinds(2), seed=1), "b": Optimizer(kinds(5), seed=1)},
    )
    asked = searched.ask(20)
    assert division(asked) == {"a": 2, "b": 5}
    with pytest.raises(SpaceExhausted):
        searched.ask()


def test_with_one_definition_it_is_its_optimiser() -> None:
    alone, twin = Portfolio({None: Optimizer(X, seed=3)}), Optimizer(X, seed=3)
    assert alone.ask(4) == [(None, each) for each in twin.ask(4)]
    with pytest.raises(ValueError, match="at least one"):
        Portfolio({})
