"""Earlier searches: they help where they can, and do little harm where they mislead."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from tests.core.searches import (
    LETTERS,
    SQUARE,
    Objective,
    bowl,
    cube,
    hills,
    integers,
    least,
    search,
)
from tunesmith_core.designs.random import RandomDesign
from tunesmith_core.errors import SpaceError
from tunesmith_core.objective import Goal, warped
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space import (
    Categorical,
    Configuration,
    Continuous,
    Integer,
    Parameter,
    Scaling,
    SearchSpace,
)
from tunesmith_core.space.encoding import to_unit
from tunesmith_core.threads import on_one_thread
from tunesmith_core.transfer import MAX_EARLIER, Experience, ModelSpace, Result

pytestmark = [pytest.mark.usefixtures("warm"), pytest.mark.timeout(60)]

THREE = cube(3)
RATE = Continuous(name="rate", lo=1e-6, hi=1.0, scaling=Scaling.LOGARITHMIC)
DEPTH = Integer(name="depth", lo=1, hi=8)
KIND = Categorical(name="kind", values=("a", "b", "c"))
EXTRA: tuple[Parameter, ...] = (RATE, DEPTH, KIND)
FIXED: Configuration = {"rate": 1e-3, "depth": 5, "kind": "b"}


def slanted(configuration: Configuration) -> float:
    """Be least, 0, where no coordinate is in the middle, in any number of dimensions."""
    x = np.array([float(value) for value in configuration.values()])
    place = np.linspace(0.15, 0.8, len(x))
    return float(((x - place) ** 2).sum() + 2 * (x - place).sum() ** 2)


def related(configuration: Configuration) -> float:
    """Be the slanted one, moved a little and in another unit."""
    moved = {name: min(float(value) + 0.04, 1.0) for name, value in configuration.items()}
    return 30.0 * slanted(moved) - 7.0


def noise(configuration: Configuration) -> float:
    """Have nothing to do with anything."""
    words = [int(2**32 * abs(math.sin(1e3 * float(v)))) for v in configuration.values()]
    return float(np.random.default_rng(words).standard_normal())


def earlier(objective: Objective, seed: int, *, space: SearchSpace = THREE) -> list[Result]:
    return search(Optimizer(space, seed=50 + seed), objective, 18)


@functools.cache
def found(
    trials: int, parent: Objective | None, *, seeds: int = 3, same_objective: bool = False
) -> float:
    """Give the mean over seeds of the best value after so many trials."""
    best = []
    for seed in range(seeds):
        experience = None
        if parent is not None:
            experience = Experience(searches=[earlier(parent, seed)], same_objective=same_objective)
        best.append(
            least(search(Optimizer(THREE, seed=seed, experience=experience), slanted, trials))
        )
    return float(np.mean(best))


def test_a_search_of_the_same_objective_begins_where_the_earlier_one_ended() -> None:
    cold, warm = found(8, None), found(8, slanted, same_objective=True)
    assert cold > 0.02
    assert warm < 0.05 * cold


def test_a_search_of_a_related_objective_is_far_ahead() -> None:
    assert found(8, related) < 0.5 * found(8, None)


@pytest.mark.parametrize("misleading", [lambda c: -slanted(c), noise], ids=["negated", "noise"])
def test_a_search_that_misleads_does_little_harm(misleading: Objective) -> None:
    rng = np.random.default_rng(0)
    by_chance = np.mean(
        [min(slanted(dict(enumerate(x))) for x in rng.random((18, 3))) for _ in range(20)]  # type: ignore[arg-type]
    )
    assert found(18, misleading, seeds=2) < 0.5 * by_chance


def test_a_search_that_misleads_though_it_is_declared_to_be_the_same_is_seen_through() -> None:
    # It takes longer, for it was vouched for.
    assert found(25, lambda c: -slanted(c), seeds=2, same_objective=True) < 0.1


def test_a_maximum_is_learnt_as_a_minimum_is() -> None:
    down = earlier(slanted, 0)
    up = [(configuration, -(value or 0.0)) for configuration, value in down]
    one = Optimizer(THREE, seed=1, experience=Experience(searches=[down]))
    other = Optimizer(THREE, seed=1, goal=Goal.MAXIMIZE, experience=Experience(searches=[up]))
    assert [c for c, _ in search(one, slanted, 12)] == [
        c for c, _ in search(other, lambda c: -slanted(c), 12)
    ]


def test_it_learns_from_several_searches() -> None:
    best = []
    for seed in range(3):
        searches = [earlier(related, seed), earlier(lambda c: 1e-3 * slanted(c), seed + 20)]
        optimizer = Optimizer(THREE, seed=seed, experience=Experience(searches=searches))
        best.append(least(search(optimizer, slanted, 8)))
    assert np.mean(best) < 0.4 * found(8, None)


def test_results_outside_of_the_ranges_are_passed_over() -> None:
    wide = SearchSpace((Continuous(name="x", lo=-9, hi=9), Continuous(name="y", lo=-9, hi=9)))
    inside: list[Result] = [({"x": 0.2, "y": 0.9}, 2.0), ({"x": 0.0, "y": 1.0}, 3.0)]
    outside: list[Result] = [
        ({"x": 1.0001, "y": 0.5}, -5.0),
        ({"x": 0.5, "y": -8.0}, -6.0),
        ({"x": 0.5}, -7.0),
        ({"x": 0.5, "y": 0.5, "z": 0.5}, -8.0),
        ({"x": math.nan, "y": 0.5}, -9.0),
        ({"x": math.inf, "y": 0.5}, -9.0),
        ({"x": "0.5", "y": 0.5}, -9.0),
    ]
    mixed = [outside[0], inside[0], *outside[1:], inside[1]]
    space = ModelSpace(SQUARE, Goal.MINIMIZE, Experience(searches=[mixed]))
    assert space.values.tolist() == [2.0, 3.0]
    assert space.x[:, :2].tolist() == [[0.2, 0.9], [0.0, 1.0]]
    of_wide = [
        ({"x": float(c["x"]) * 9, "y": float(c["y"])}, v) for c, v in earlier(bowl, 0, space=SQUARE)
    ]
    optimizer = Optimizer(wide, seed=0, experience=Experience(searches=[of_wide]))
    assert all(-9 <= float(v) <= 9 for (c, _) in search(optimizer, bowl, 9) for v in c.values())


def with_extra(configuration: Configuration) -> float:
    """Have its least value where it depends on the parameters that are fixed later."""
    place = 0.2 if configuration["kind"] == "b" else 0.9
    steep = 1.0 + abs(math.log10(float(configuration["rate"])) + 3)
    shift = 0.05 * (int(configuration["depth"]) - 5)
    x, y = float(configuration["x"]), float(configuration["y"])
    return steep * ((x - place - shift) ** 2 + (y - 0.6) ** 2)


def fixed(configuration: Configuration) -> float:
    return with_extra({**configuration, **FIXED})


def test_what_is_not_searched_any_more_stays_fixed_and_is_never_suggested() -> None:
    larger = SearchSpace((*SQUARE.parameters, *EXTRA))
    warm, cold = [], []
    for seed in range(3):
        design = RandomDesign(larger, 50 + seed)
        configurations = [design.configuration(k) for k in range(80)]
        results: list[Result] = [(each, with_extra(each)) for each in configurations]
        experience = Experience(searches=[results], extra=EXTRA, fixed=FIXED, same_objective=True)
        optimizer = Optimizer(SQUARE, seed=seed, experience=experience)
        suggested = search(optimizer, fixed, 7)
        assert all(set(configuration) == {"x", "y"} for configuration, _ in suggested)
        warm.append(least(suggested))
        cold.append(least(search(Optimizer(SQUARE, seed=seed), fixed, 7)))
    assert np.mean(warm) < 0.5 * np.mean(cold)


def test_points_have_the_fixed_values_and_their_search_as_coordinates() -> None:
    results: list[Result] = [({"x": 0.25, "y": 0.5, "rate": 1.0, "depth": 1, "kind": "a"}, 1.0)]
    experience = Experience(searches=[results, [], results], extra=EXTRA, fixed=FIXED)
    space = ModelSpace(SQUARE, Goal.MINIMIZE, experience)
    (expected,) = to_unit(SearchSpace((*SQUARE.parameters, *EXTRA)), [results[0][0]])
    assert space.x[:, :-1].tolist() == [expected.tolist()] * 2
    (here,) = space.embedded(np.array([[0.7, 0.1]]))
    assert here[:2].tolist() == [0.7, 0.1]
    assert here[2:5].tolist() == to_unit(SearchSpace(EXTRA), [FIXED])[0].tolist()
    assert len({*space.x[:, -1].tolist(), float(here[-1])}) == 3
    assert space.searched(here[None]).tolist() == [[0.7, 0.1]]
    assert space.layout.task == 5
    assert space.lattice.pinned(space.x)[:, 2:].tolist() == [here[2:].tolist()] * 2


@pytest.mark.parametrize(
    ("extra", "values"),
    [
        ((DEPTH,), {}),
        ((DEPTH,), {"depth": 9}),
        ((DEPTH,), {"depth": 3, "more": 1}),
        ((Continuous(name="x", lo=0, hi=1),), {"x": 0.5}),
        ((DEPTH, DEPTH), {"depth": 3}),
    ],
)
def test_fixed_values_that_do_not_fit_are_refused(
    extra: tuple[Parameter, ...], values: Configuration
) -> None:
    with pytest.raises(SpaceError):
        Optimizer(SQUARE, seed=0, experience=Experience(searches=[[]], extra=extra, fixed=values))


def test_parameters_may_have_the_name_that_the_search_has_within() -> None:
    space = SearchSpace(
        (Continuous(name="search", lo=0, hi=1), Continuous(name="search_", lo=0, hi=1))
    )
    results: list[Result] = [({"search": 0.1 * k, "search_": 0.5}, float(k)) for k in range(9)]
    optimizer = Optimizer(space, seed=0, experience=Experience(searches=[results]))
    for configuration in optimizer.ask(5):
        assert set(configuration) == {"search", "search_"}


@pytest.mark.parametrize("searches", [[], [[]], [[], []], [[({"x": 7.0, "y": 0.5}, 1.0)]]], ids=str)
@pytest.mark.parametrize("same_objective", [False, True])
def test_without_a_usable_result_a_search_is_as_if_there_had_been_none(
    searches: Sequence[Sequence[Result]], *, same_objective: bool
) -> None:
    experience = Experience(searches=searches, same_objective=same_objective)
    warm = search(Optimizer(SQUARE, seed=2, experience=experience), bowl, 14)
    assert warm == search(Optimizer(SQUARE, seed=2), bowl, 14)


HOSTILE: dict[str, Objective] = {
    "failures": lambda _: None,
    "NaN": lambda _: math.nan,
    "infinite": lambda _: math.inf,
    "constant": lambda _: 3.0,
    "huge": lambda c: 1.7e308 * math.sin(20 * float(c["x"])),
    "tiny": lambda c: 5e-324 * float(c["x"]),
    "half of them failures": lambda c: bowl(c) if float(c["x"]) < 0.5 else math.nan,
    "one value": lambda c: 1.0 if float(c["x"]) == 0.5 else None,
}


@pytest.mark.parametrize("objective", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("same_objective", [False, True])
def test_whatever_an_earlier_search_found_this_one_comes_to_its_end(
    objective: Objective, *, same_objective: bool
) -> None:
    experience = Experience(
        searches=[earlier(objective, 0, space=SQUARE)[:15]], same_objective=same_objective
    )
    results = search(Optimizer(SQUARE, seed=0, experience=experience), bowl, 15)
    rows = {tuple(configuration.values()) for configuration, _ in results}
    assert len(rows) == 15
    assert all(0 <= float(value) <= 1 for row in rows for value in row)
    assert least(results) < 0.02


@pytest.mark.parametrize("same_objective", [False, True])
def test_a_search_all_of_whose_trials_fail_goes_on(*, same_objective: bool) -> None:
    experience = Experience(
        searches=[earlier(bowl, 0, space=SQUARE)], same_objective=same_objective
    )
    optimizer = Optimizer(SQUARE, seed=0, experience=experience)
    results = search(optimizer, lambda _: None, 15)
    assert len({tuple(configuration.values()) for configuration, _ in results}) == 15
    assert optimizer.promise(best=0.0, slope=1.0).configuration not in optimizer.pending


def test_how_well_results_are_predicted_is_told_in_their_own_unit() -> None:
    # Beside values a thousand times as far apart its own are warped to almost nothing, and whoever
    # takes them all for equal is wrong by little.
    rng = np.random.default_rng(1)
    points = [dict(zip("xy", row, strict=True)) for row in rng.random((25, 2)).tolist()]
    evidence = []
    for scale in (1.0, 1e3):
        parent: list[Result] = [(c, scale * hills(c)) for c in points]
        experience = Experience(searches=[parent], same_objective=True)
        optimizer = Optimizer(SQUARE, seed=0, experience=experience)
        for configuration in optimizer.ask(10, quasi_random=True):
            optimizer.tell(configuration, bowl(configuration))
        own = np.array(optimizer._x)
        with on_one_thread():
            both, alone = (
                model.view(own, optimizer.values, None).evidence for model in optimizer._models()
            )
        evidence.append((both, alone))
    assert evidence[0][1] == evidence[1][1]
    assert evidence[1][0] < evidence[0][0] - 20


@pytest.mark.parametrize("searches", [1, 5])
def test_of_a_great_many_results_the_most_telling_ones_are_used(searches: int) -> None:
    rng = np.random.default_rng(0)
    results: list[list[Result]] = [
        [({"x": a, "y": b}, bowl({"x": a, "y": b})) for a, b in rng.random((3000, 2)).tolist()]
        for _ in range(searches)
    ]
    experience = Experience(searches=results)
    space = ModelSpace(SQUARE, Goal.MINIMIZE, experience)
    assert space.earlier == MAX_EARLIER
    for each in results:
        assert least(each) in space.values
    optimizer = Optimizer(SQUARE, seed=0, experience=experience)
    assert least(search(optimizer, bowl, 4)) < 0.01


def test_searches_of_other_objectives_have_scales_of_their_own() -> None:
    rng = np.random.default_rng(3)
    first, second, own = rng.standard_normal(9), 1e6 * rng.standard_normal(7), rng.random(8)
    searches: list[list[Result]] = [
        [({"x": float(u), "y": 0.5}, float(v)) for u, v in zip(rng.random(len(y)), y, strict=True)]
        for y in (first, second)
    ]
    every = np.concatenate([first, second, own])
    apart = ModelSpace(SQUARE, Goal.MINIMIZE, Experience(searches=searches))
    assert apart.warped(every) == pytest.approx(
        np.concatenate([warped(first), warped(second), warped(own)])
    )
    # Too few of its own to tell their scale.
    few = every[: 16 + 5]
    assert apart.warped(few)[16:] == pytest.approx(warped(few)[16:])
    together = ModelSpace(SQUARE, Goal.MINIMIZE, Experience(searches=searches, same_objective=True))
    assert together.warped(every) == pytest.approx(warped(every))


@pytest.mark.parametrize("same_objective", [False, True])
def test_how_a_history_is_told_makes_no_difference(*, same_objective: bool) -> None:
    def make() -> Optimizer:
        experience = Experience(
            searches=[parent, parent[::2]],
            extra=(KIND,),
            fixed={"kind": "b"},
            same_objective=same_objective,
        )
        return Optimizer(SQUARE, seed=3, experience=experience)

    larger = SearchSpace((*SQUARE.parameters, KIND))
    parent = search(Optimizer(larger, seed=7), lambda c: bowl(c) + (c["kind"] == "a"), 20)
    followed = make()
    history = search(followed, hills, 16)
    assert search(make(), hills, 16) == history
    at_once = make()
    for configuration, value in history:
        at_once.tell(configuration, value)
    held = followed.ask(3)
    assert at_once.ask(3) == held
    late = make()
    for configuration, value in history:
        late.tell(configuration, value)
    late.set_pending(held[:2])
    assert late.ask() == held[2:]


@pytest.mark.parametrize("space", [LETTERS, integers(12)])
def test_a_finite_space_is_searched_to_its_end(space: SearchSpace) -> None:
    parent: list[Result] = [
        (configuration, float(number))
        for number, configuration in enumerate(Optimizer(space, seed=1).ask(12))
    ]
    optimizer = Optimizer(space, seed=0, experience=Experience(searches=[parent]))
    results = search(optimizer, lambda c: float(len(str(c))), 12)
    assert len({tuple(configuration.values()) for configuration, _ in results}) == 12


def test_what_was_best_before_is_tried_at_once() -> None:
    parent: list[Result] = [
        (configuration, abs(int(configuration["n"]) - 40.0))
        for configuration in Optimizer(integers(100), seed=1).ask(40)
    ]
    experience = Experience(searches=[parent], same_objective=True)
    ((first, value),) = search(
        Optimizer(integers(100), seed=0, experience=experience),
        lambda c: abs(int(c["n"]) - 40.0),
        1,
    )
    assert value is not None
    assert value <= 2, first
