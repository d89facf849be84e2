"""Convergence: told where nothing more is to be had, and not before."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tests.core.searches import LETTERS, SQUARE, Objective, bowl, integers, search
from tunesmith_core.objective import Goal
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space import Categorical, Configuration, Continuous, SearchSpace
from tunesmith_core.stopping import convergence
from tunesmith_core.stopping.convergence import FIRST, has_converged
from tunesmith_core.transfer import Result

pytestmark = [pytest.mark.usefixtures("warm"), pytest.mark.timeout(60)]


def offset_bowl(configuration: Configuration) -> float:
    return 1.0 + bowl(configuration)


def noisy(deviation: float) -> Objective:
    def value(configuration: Configuration) -> float:
        words = [int(2**52 * float(each)) for each in configuration.values()]
        return offset_bowl(configuration) + deviation * float(
            np.random.default_rng(words).standard_normal()
        )

    return value


@pytest.fixture(scope="module")
def searched() -> list[Result]:
    """Give 40 trials on the bowl, which is at 1.0 to the fourth digit by then."""
    return search(Optimizer(SQUARE, seed=0), offset_bowl, 40)


def converged(
    results: Sequence[Result],
    *,
    space: SearchSpace = SQUARE,
    goal: Goal = Goal.MINIMIZE,
    remaining: int = 50,
) -> bool:
    told = [convergence.Result(configuration=each, value=value) for each, value in results]
    return has_converged({None: space}, told, goal, remaining=remaining)


def test_a_searched_bowl_has_converged_and_a_bowl_of_few_trials_has_not(
    searched: list[Result],
) -> None:
    assert converged(searched)
    assert not converged(searched[:FIRST])
    assert not converged(search(Optimizer(SQUARE, seed=1), lambda c: 0.01 + bowl(c), 13))


def test_whatever_strategy_chose_the_configurations_counts() -> None:
    grid = [{"x": x / 10, "y": y / 10} for x in range(11) for y in range(11)]
    order = np.random.default_rng(0).permutation(len(grid))
    results: list[Result] = [(grid[index], offset_bowl(grid[index])) for index in order]
    assert converged(results)
    assert not converged(results[:11])


@pytest.mark.parametrize("count", range(FIRST))
def test_fewer_than_ten_values_say_nothing(searched: list[Result], count: int) -> None:
    assert not converged(searched[:count])
    failures: list[Result] = [(configuration, None) for configuration, _ in searched[count:]]
    assert not converged([*failures, *searched[:count]])


@pytest.mark.parametrize("value", [0.0, 1.0, -1e300])
def test_equal_values_say_nothing(searched: list[Result], value: float) -> None:
    assert not converged([(configuration, value) for configuration, _ in searched])


def test_a_space_of_which_only_a_corner_was_seen_has_not_converged() -> None:
    wide = SearchSpace((Continuous(name="x", lo=0, hi=1000), Continuous(name="y", lo=0, hi=1000)))
    rng = np.random.default_rng(0)
    results: list[Result] = []
    for x, y in (100 * rng.random((40, 2))).tolist():
        results.append(({"x": x, "y": y}, 1.0 + math.sin(x / 20) * math.cos(y / 30) / 2))
    assert not converged(results, space=wide)


def test_that_the_latest_results_make_it_certain_is_not_enough(
    searched: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = convergence._log_gain

    def noted(space: SearchSpace, results: Sequence[Result], *rest: object) -> float:
        asked.append(len(results))
        return real(space, results, *rest) if len(results) == 40 else math.inf  # type: ignore[arg-type]

    monkeypatch.setattr(convergence, "_log_gain", noted)
    assert not converged(searched)
    assert asked == [40, 35]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("space", [LETTERS, integers(12)], ids=["letters", "integers"])
def test_a_space_with_nothing_left_has_converged_whatever_its_values(
    space: SearchSpace, seed: int
) -> None:
    values = np.random.default_rng(seed).standard_normal(12)
    values -= values.min() if seed == 0 else 0.0  # of a best value of 0 there is no hundredth
    every = Optimizer(space, seed=seed).ask(12)
    results: list[Result] = list(zip(every, values.tolist(), strict=True))
    assert converged(results, space=space)
    assert not converged(results[:FIRST], space=space)


def test_a_large_space_with_nothing_left_has_converged_beyond_what_is_looked_at() -> None:
    space = integers(convergence.MOST + 40)
    values = np.random.default_rng(0).standard_normal(convergence.MOST + 40)
    results: list[Result] = [({"n": n}, float(v)) for n, v in enumerate(values, start=1)]
    assert converged(results, space=space)


def test_noise_far_above_what_is_left_to_gain_does_not_hide_it() -> None:
    # A lucky measurement is no better configuration.
    results = search(Optimizer(SQUARE, seed=2), noisy(0.02), 60)
    assert converged(results, remaining=10)
    assert not converged(results[:11], remaining=10)


def test_pure_noise_about_a_plateau_has_not_converged_at_its_start() -> None:
    rng = np.random.default_rng(5)
    results: list[Result] = [
        ({"x": x, "y": y}, 1.0 + 0.3 * float(rng.standard_normal()))
        for x, y in rng.random((12, 2)).tolist()
    ]
    assert not converged(results)


@pytest.mark.parametrize("factor", [1e6, 1e-6, 2.0**900, 2.0**-900])
def test_in_another_unit_the_verdict_is_the_same(searched: list[Result], factor: float) -> None:
    for count in (12, 16, 20, 26, 40):
        in_unit: list[Result] = [(c, factor * (v or 0.0)) for c, v in searched[:count]]
        assert converged(in_unit) == converged(searched[:count])


def test_a_hundredth_is_one_of_the_best_value(searched: list[Result]) -> None:
    # The same bowl, where its depth is a small share of the best value, and where it is all of it.
    above: list[Result] = [(c, (v or 0.0) + 1e4) for c, v in searched[:16]]
    level: list[Result] = [(c, (v or 0.0) - 1.0 + 1e-9) for c, v in searched]
    assert converged(above)
    assert not converged(level)


def test_a_maximum_is_judged_as_the_minimum_of_its_negative(searched: list[Result]) -> None:
    for count in (12, 16, 20, 26, 40):
        negated: list[Result] = [(c, -(v or 0.0)) for c, v in searched[:count]]
        assert converged(negated, goal=Goal.MAXIMIZE) == converged(searched[:count])


def test_the_more_trials_remain_the_more_may_be_gained(searched: list[Result]) -> None:
    rows = []
    for count in range(12, 30, 2):
        row = [converged(searched[:count], remaining=remaining) for remaining in (1, 10, 100, 1000)]
        assert row == sorted(row, reverse=True)
        assert row[2] == row[3], "a hundred are looked at, at most"
        rows.append(row)
    assert any(row[0] and not row[3] for row in rows)


def test_failures_are_no_values_and_no_obstacle(searched: list[Result]) -> None:
    kind = Categorical(name="kind", values=("good", "fails"))
    space = SearchSpace((*SQUARE.parameters, kind))
    results: list[Result] = [({**c, "kind": "good"}, v) for c, v in searched]
    results += [({**c, "kind": "fails"}, None) for c, _ in searched[:14]]
    order = np.random.default_rng(0).permutation(len(results))
    assert converged([results[index] for index in order], space=space, remaining=5)


def test_a_verdict_is_a_function_of_its_arguments(searched: list[Result]) -> None:
    for count in (14, 18, 22):
        assert len({converged(searched[:count]) for _ in range(2)}) == 1


def test_several_definitions_have_converged_when_none_promises_more(
    searched: list[Result],
) -> None:
    def told(*, other: Sequence[Result]) -> list[convergence.Result]:
        return [
            *(convergence.Result(definition="b", configuration=c, value=v) for c, v in other),
            *(convergence.Result(definition="a", configuration=c, value=v) for c, v in searched),
        ]

    spaces: dict[str | None, SearchSpace] = {"a": SQUARE, "b": SQUARE}
    worse = [(configuration, value and value + 5) for configuration, value in searched[:12]]
    goal = Goal.MINIMIZE
    assert has_converged(spaces, told(other=worse), goal, remaining=20)
    falling: list[Result] = [
        ({"x": x / 10, "y": 0.5}, 3.0 - 0.35 * x) for x in range(6)
    ]  # it may well fall below 1
    assert not has_converged(spaces, told(other=falling), goal, remaining=20)
    failing: list[Result] = [(configuration, None) for configuration, _ in worse]
    assert has_converged(spaces, told(other=failing), goal, remaining=20)
