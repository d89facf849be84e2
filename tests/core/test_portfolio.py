"""Several definitions: the better one has the trials, whatever the others do."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from tests.core import naive
from tests.core.searches import (
    SQUARE,
    Objective,
    bowl,
    cube,
    hills,
    integers,
    least,
    search,
    spend,
)
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.objective import Goal, slope_of
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.portfolio import START, Portfolio
from tunesmith_core.space import Categorical, Configuration, Continuous, SearchSpace
from tunesmith_core.space.encoding import to_unit
from tunesmith_core.transfer import Experience

pytestmark = [pytest.mark.usefixtures("warm"), pytest.mark.timeout(60)]

OTHER = SearchSpace(
    (Continuous(name="z", lo=1e-3, hi=1e3), Categorical(name="kind", values=("a", "b")))
)


def other(configuration: Configuration) -> float:
    """Never be below 0.5."""
    return 0.5 + 0.2 * abs(math.log10(float(configuration["z"]))) + (configuration["kind"] == "a")


def early(configuration: Configuration) -> float:
    """Be good almost anywhere, and never below 0.15."""
    x, y = float(configuration["x"]), float(configuration["y"])
    return 0.25 + 0.1 * math.sin(5 * x) * math.cos(3 * y)


def late(configuration: Configuration) -> float:
    """Be bad almost anywhere, and least, 0.1, at (0.3, 0.6)."""
    return 0.1 + 3 * bowl(configuration)


OBJECTIVES: dict[str | None, Objective] = {"other": other, "early": early, "late": late}


def portfolio(seed: int, *, goal: Goal = Goal.MINIMIZE) -> Portfolio:
    spaces = {"other": OTHER, "early": SQUARE, "late": SQUARE}
    return Portfolio(
        {name: Optimizer(space, seed=seed, goal=goal) for name, space in spaces.items()}
    )


def of(objectives: Mapping[str | None, Objective], seed: int = 0) -> Portfolio:
    """Make a portfolio of definitions that all search the square."""
    return Portfolio({name: Optimizer(SQUARE, seed=seed) for name in objectives})


def test_without_a_definition_there_is_nothing_to_ask() -> None:
    with pytest.raises(ValueError, match="at least one definition"):
        Portfolio({})


@pytest.mark.parametrize("growth", [None, 6])
def test_one_definition_is_searched_as_if_there_were_no_portfolio(growth: int | None) -> None:
    alone, within = Optimizer(SQUARE, seed=4), Portfolio({None: Optimizer(SQUARE, seed=4)})
    for count in (1, 3, 2, 4, 1, 5, 1, 8):
        asked = alone.ask(count, growth=growth)
        assert within.ask(count, growth=growth) == [(None, each) for each in asked]
        for each in asked:
            alone.tell(each, hills(each))
            within.optimizers[None].tell(each, hills(each))
    assert within.ask(2, quasi_random=True) == [
        (None, each) for each in alone.ask(2, quasi_random=True)
    ]


def test_most_trials_go_to_the_better_one_which_comes_as_far_as_alone() -> None:
    shares, found = [], []
    for seed in range(5):
        history = spend(portfolio(seed), OBJECTIVES, 50)
        counts = Counter(name for (name, _), _ in history)
        assert min(counts.values()) >= START
        shares.append(counts["late"] / 50)
        found.append(min(value for _, value in history if value is not None) - 0.1)
    assert min(shares) > 0.4
    assert np.mean(shares) > 0.6
    assert max(found) < 1e-3
    assert least(search(Optimizer(SQUARE, seed=0), late, 50)) - 0.1 < 1e-3


def test_a_goal_turns_the_sign_and_nothing_else() -> None:
    up: dict[str | None, Objective] = {
        name: lambda c, name=name: -(OBJECTIVES[name](c) or 0.0)  # type: ignore[misc]
        for name in OBJECTIVES
    }
    down = [choice for choice, _ in spend(portfolio(1), OBJECTIVES, 20)]
    assert [c for c, _ in spend(portfolio(1, goal=Goal.MAXIMIZE), up, 20)] == down


def in_unit(factor: float, offset: float) -> dict[str | None, Objective]:
    """Give the objectives in another unit."""
    return {
        name: lambda c, name=name: factor * (OBJECTIVES[name](c) or 0.0) + offset  # type: ignore[misc]
        for name in OBJECTIVES
    }


@pytest.mark.parametrize("factor", [2.0**20, 2.0**-300, 2.0**900])
def test_in_another_unit_the_choices_are_the_same_to_the_last_bit(factor: float) -> None:
    plain = [choice for choice, _ in spend(portfolio(2), OBJECTIVES, 24)]
    assert [choice for choice, _ in spend(portfolio(2), in_unit(factor, 0.0), 24)] == plain


@pytest.mark.parametrize("seed", range(3))
def test_where_a_unit_has_its_zero_makes_no_difference(seed: int) -> None:
    choices = []
    rng = np.random.default_rng(seed)
    told: list[tuple[str, Configuration]] = []
    for number, (x, y) in enumerate(rng.random((16, 2)).tolist()):
        told.append(("early" if number < 7 else "late", {"x": x, "y": y}))
    z_values = (10 ** rng.uniform(-3, 3, size=6)).tolist()
    told += [("other", {"z": z, "kind": "b"}) for z in z_values]
    for objectives in (in_unit(1.0, 0.0), in_unit(1e6, -3e6), in_unit(1e-6, 1e-5)):
        asked = portfolio(seed)
        for name, configuration in told:
            asked.optimizers[name].tell(configuration, objectives[name](configuration))
        choices.append(asked.ask()[0])
    for chosen, configuration in choices[1:]:
        assert chosen == choices[0][0]
        for key, value in choices[0][1].items():
            expected = pytest.approx(value, rel=1e-2) if isinstance(value, float) else value
            assert configuration[key] == expected


def test_a_definition_that_always_fails_has_its_first_trials_and_no_more() -> None:
    objectives: dict[str | None, Objective] = {"fails": lambda _: None, "late": late}
    history = spend(of(objectives), objectives, 40)
    assert Counter(name for (name, _), _ in history) == {"fails": START, "late": 40 - START}
    assert min(value for _, value in history if value is not None) < 0.101


def test_while_none_of_a_definitions_trials_has_come_to_an_end_they_take_turns() -> None:
    both = Portfolio({name: Optimizer(SQUARE, seed=1) for name in ("ends", "rests")})
    counts = Counter[str | None]()

    def run(trials: int) -> None:
        for _ in range(trials):
            ((name, configuration),) = both.ask()
            counts[name] += 1
            value = bowl(configuration)
            if name == "rests":
                # It has done little so far, and looks bad.
                value += 9.0
                both.optimizers[name].tell(configuration, value, rungs=[value], is_stopped=True)
            else:
                both.optimizers[name].tell(configuration, value)

    run(16)
    assert counts == {"ends": 8, "rests": 8}
    both.optimizers["rests"].tell({"x": 0.1, "y": 0.1}, 9.0)
    run(4)
    assert counts["rests"] == 8, "one that has ended can be compared"


def test_when_all_fail_they_take_turns() -> None:
    objectives: dict[str | None, Objective] = dict.fromkeys("abc", lambda _: math.nan)
    history = spend(of(objectives), objectives, 30)
    assert [name for (name, _), _ in history] == ["a", "b", "c"] * 10


@pytest.mark.parametrize("constant", [0.12, 0.9, 1e9])
def test_a_definition_whose_values_are_all_equal_is_soon_left(constant: float) -> None:
    objectives: dict[str | None, Objective] = {"constant": lambda _: constant, "late": late}
    for seed in range(2):
        history = spend(of(objectives, seed), objectives, 50)
        assert Counter(name for (name, _), _ in history)["constant"] <= 15
        assert min(value for _, value in history if value is not None) < 0.102


def test_a_definition_with_nothing_left_is_passed_over_until_nobody_has_anything() -> None:
    spaces = {"few": integers(4), "some": integers(9)}
    objectives: dict[str | None, Objective] = {
        "few": lambda c: float(c["n"]),
        "some": lambda c: 50.0 - float(c["n"]),
    }
    asked = Portfolio({name: Optimizer(space, seed=0) for name, space in spaces.items()})
    history = spend(asked, objectives, 11)
    assert Counter(name for (name, _), _ in history)["few"] == 4
    assert len(asked.ask(5)) == 2
    with pytest.raises(SpaceExhausted) as refusal:
        asked.ask()
    assert refusal.value.suggested == 13


def test_what_is_pending_counts() -> None:
    asked = portfolio(0)
    first = asked.ask(3 * START)
    assert Counter(name for name, _ in first) == dict.fromkeys(asked.optimizers, START)
    for name, configuration in first:
        asked.optimizers[name].tell(configuration, OBJECTIVES[name](configuration))
    batch = asked.ask(12)
    rows = [(name, *configuration.values()) for name, configuration in batch]
    assert len(set(rows)) == 12
    for name, optimizer in asked.optimizers.items():
        assert optimizer.pending == [each for which, each in batch if which == name]


def test_what_is_pending_leaves_less_to_expect() -> None:
    optimizer = Optimizer(SQUARE, seed=0)
    search(optimizer, early, 12)
    gains = []
    for _ in range(12):
        promise = optimizer.promise(best=float(optimizer.values.min()), slope=1.0)
        optimizer.hold(promise.configuration)
        gains.append(promise.log_gain)
    assert gains[-1] < gains[0] - 0.5


def test_quasi_random_ones_take_turns_and_need_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = portfolio(0)
    spend(asked, OBJECTIVES, 15)

    def refused(*_arguments: object, **_named: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Optimizer, "_promising", refused)
    known = {name: each.known for name, each in asked.optimizers.items()}
    more = asked.ask(60, quasi_random=True)
    counts = Counter(name for name, _ in more)
    totals = [known[name] + counts[name] for name in known]
    assert max(totals) - min(totals) <= 1


def test_how_a_history_is_told_makes_no_difference() -> None:
    followed = portfolio(3)
    history = spend(followed, OBJECTIVES, 30)
    at_once = portfolio(3)
    for (name, configuration), value in history:
        at_once.optimizers[name].tell(configuration, value)
    held = followed.ask(3)
    assert at_once.ask(3) == held
    late_told = portfolio(3)
    for (name, configuration), value in history:
        late_told.optimizers[name].tell(configuration, value)
    for name, configuration in held[:2]:
        late_told.optimizers[name].hold(configuration)
    assert late_told.ask() == held[2:]


@pytest.mark.parametrize("scale", [1.7e308, 1e300, 1e-310, 5e-324])
def test_values_at_the_edge_of_float64_are_compared(scale: float) -> None:
    objectives: dict[str | None, Objective] = {
        "up": lambda c: scale * (0.5 + 0.5 * bowl(c)),
        "down": lambda c: -scale * (0.5 + 0.5 * bowl(c)),
    }
    history = spend(of(objectives), objectives, 14)
    counts = Counter(name for (name, _), _ in history)
    assert sum(counts.values()) == 14
    if scale >= 1e300:
        assert counts["up"] == START


@pytest.mark.parametrize("same_objective", [False, True])
def test_definitions_that_learn_from_earlier_searches_need_no_results_of_their_own(
    *, same_objective: bool
) -> None:
    earlier = search(Optimizer(SQUARE, seed=9), late, 20)
    experience = Experience(searches=[earlier], same_objective=same_objective)
    asked = Portfolio({name: Optimizer(SQUARE, seed=0, experience=experience) for name in "ab"})
    told = 0
    for _ in range(10):
        ((name, configuration),) = asked.ask()
        if name == "a":
            asked.optimizers[name].tell(configuration, late(configuration))
            told += 1
    assert asked.optimizers["b"].known >= START
    assert told >= START


def test_a_promise_is_the_expected_improvement_of_the_configuration_that_it_names() -> None:
    optimizer = Optimizer(cube(2), seed=0)
    search(optimizer, hills, 18)
    best = float(optimizer.values.min()) - 0.1
    promise = optimizer.promise(best=best, slope=math.nan)
    view = optimizer._view(None)
    mean, deviation = view.predictor.predict(to_unit(optimizer.space, [promise.configuration]))
    slope = slope_of(optimizer.values, view.y)
    target = float(view.predictor.fitted(view.y).min()) - 0.1 * slope
    noise = view.predictor.variance * view.posterior.noise
    expected = naive.log_ei(float(mean[0]), float(deviation[0]), target)
    expected += float(naive.log_news(float(deviation[0]) ** 2, noise)[0]) - math.log(slope)
    assert promise.log_gain == pytest.approx(expected, abs=1e-6)
    assert optimizer.pending == []
    assert optimizer.known == 18


def test_a_promise_does_not_count_what_is_known_already() -> None:
    # All but the worst are known, and the best one promises most of what is left to promise.
    optimizer = Optimizer(integers(16), seed=0)
    for n in range(1, 16):
        optimizer.tell({"n": n}, abs(n - 6.0))
    promise = optimizer.promise(best=0.0, slope=0.0)
    assert promise.configuration == {"n": 16}
    assert promise.log_gain < -30


def test_less_is_promised_the_better_the_best_value_is() -> None:
    optimizer = Optimizer(SQUARE, seed=0)
    search(optimizer, late, 15)
    lowest = float(optimizer.values.min())
    gains = [
        optimizer.promise(best=lowest - by, slope=1.0).log_gain for by in (0.0, 0.01, 0.1, 1.0)
    ]
    assert all(more > less for more, less in itertools.pairwise(gains))
