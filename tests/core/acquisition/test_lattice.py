"""Snapping against decoding and encoding again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith_core.acquisition.lattice import MAX_LEVELS, SMOOTH_LEVELS, Lattice
from tunesmith_core.space import Categorical, Continuous, Integer, Parameter, Scaling, SearchSpace
from tunesmith_core.space.encoding import from_unit, to_unit
from tunesmith_core.space.scaling import F64

LOG = Scaling.LOGARITHMIC

PARAMETERS: tuple[Parameter, ...] = (
    Continuous(name="real", lo=-3.0, hi=5.0),
    Continuous(name="decades", lo=1e-9, hi=1e3, scaling=LOG),
    Continuous(name="fixed", lo=2.0, hi=2.0),
    Integer(name="bit", lo=0, hi=1),
    Integer(name="few", lo=-3, hi=4),
    Integer(name="many", lo=0, hi=1000, scaling=Scaling.LINEAR),
    Integer(name="few_log", lo=1, hi=12, scaling=LOG),
    Integer(name="many_log", lo=2, hi=5000, scaling=LOG),
    Integer(name="one", lo=7, hi=7, scaling=LOG),
    Categorical(name="kind", values=tuple("abcdefghijk")),
    Categorical(name="only", values=("v",)),
)
SPACE = SearchSpace(PARAMETERS)
DISCRETE = np.array([p.cardinality is not None for p in PARAMETERS])
D = len(PARAMETERS)

rows = st.lists(st.floats(0, 1), min_size=D, max_size=D)


def snap(x: F64) -> F64:
    return Lattice(SPACE).snap(x)


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=5))
def test_snapping_is_decoding_and_encoding_again(several: list[list[float]]) -> None:
    x = np.array(several)
    again = to_unit(SPACE, from_unit(SPACE, x))
    snapped = snap(x)
    # A categorical coordinate is compared with others bit for bit, so every bit has to be right.
    assert (snapped[:, DISCRETE] == again[:, DISCRETE]).all()
    assert (snapped[:, ~DISCRETE] == x[:, ~DISCRETE]).all()


@settings(deadline=None)
@given(rows)
def test_snapping_twice_is_snapping_once(row: list[float]) -> None:
    once = snap(np.array([row]))
    assert (snap(once) == once).all()
    assert from_unit(SPACE, once) == from_unit(SPACE, np.array([row]))


def test_snapping_does_not_change_what_it_is_given() -> None:
    x = np.random.default_rng(1).random((4, D))
    before = x.copy()
    snap(x)
    assert (x == before).all()


def test_points_outside_the_unit_cube_are_put_onto_its_edge() -> None:
    x = np.array([np.full(D, -0.5), np.full(D, 1.5)])
    assert (snap(x) == snap(np.clip(x, 0, 1))).all()
    assert snap(x)[:, 0].tolist() == [0.0, 1.0]


@settings(deadline=None)
@given(rows, st.integers(0, 99))
def test_neighbours_are_configurations_that_differ_in_one_discrete_parameter(
    row: list[float], seed: int
) -> None:
    lattice = Lattice(SPACE)
    (point,) = lattice.snap(np.array([row]))
    around = lattice.neighbours(point, np.random.default_rng(seed))
    assert ((around >= 0) & (around <= 1)).all()
    assert (lattice.snap(around) == around).all()
    differs = around != point
    assert (differs.sum(axis=1) == 1).all()
    assert not differs[:, ~DISCRETE].any()
    # Nothing discrete with more than one value is left out.
    moved = {SPACE.names[j] for j in np.flatnonzero(differs.any(axis=0))}
    assert moved >= {"bit", "few", "few_log", "many", "kind"}


@pytest.mark.parametrize(
    "parameter",
    [
        Integer(name="n", lo=-3, hi=4),
        Integer(name="n", lo=1, hi=12, scaling=Scaling.LOGARITHMIC),
        Integer(name="n", lo=0, hi=SMOOTH_LEVELS - 1),
        Categorical(name="n", values=tuple("abcdefghijklmnopqrstuvwxyz")),
    ],
)
def test_every_value_of_a_small_parameter_is_a_neighbour(parameter: Parameter) -> None:
    space = SearchSpace((parameter,))
    lattice = Lattice(space)
    (point,) = lattice.snap(np.array([[0.3]]))
    around = lattice.neighbours(point, np.random.default_rng(0))
    values = {each["n"] for each in from_unit(space, around)}
    assert len(values | {from_unit(space, point[None])[0]["n"]}) == parameter.cardinality


def test_a_space_without_discrete_parameters_has_no_neighbours() -> None:
    lattice = Lattice(SearchSpace(PARAMETERS[:2]))
    around = lattice.neighbours(np.array([0.25, 0.5]), np.random.default_rng(0))
    assert around.shape == (0, 2)


def test_wide_integers_count_as_continuous() -> None:
    wide = Integer(name="n", lo=0, hi=MAX_LEVELS)
    narrow = Integer(name="m", lo=1, hi=MAX_LEVELS)
    lattice = Lattice(SearchSpace((wide, narrow)))
    assert lattice.levels.tolist() == [np.inf, MAX_LEVELS]
    x = np.random.default_rng(2).random((3, 2))
    assert (lattice.snap(x)[:, 0] == x[:, 0]).all()


def test_only_ordered_parameters_with_many_values_move_smoothly() -> None:
    smooth = {
        name
        for name, is_smooth in zip(SPACE.names, Lattice(SPACE).smooth, strict=True)
        if is_smooth
    }
    assert smooth == {"real", "decades", "many", "many_log"}


PINNED = {1: 0.37, 4: 0.9, 7: 0.123, 9: 0.31, 10: 0.5}
"""A real coordinate, a few integers, many, and both categorical ones; none where it would snap to."""

FREE = np.array([j not in PINNED for j in range(D)])


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=5), st.integers(0, 99))
def test_pinned_coordinates_stay_where_they_are_and_the_others_know_nothing_of_it(
    several: list[list[float]], seed: int
) -> None:
    x = np.array(several)
    lattice = Lattice(SPACE, PINNED)
    for moved in (lattice.snap(x), lattice.pinned(x)):
        assert (moved[:, ~FREE] == [PINNED[j] for j in sorted(PINNED)]).all()
    assert (lattice.snap(x)[:, FREE] == snap(x)[:, FREE]).all()
    assert (lattice.pinned(x)[:, FREE] == x[:, FREE]).all()
    (point, *_) = lattice.snap(x)
    around = lattice.neighbours(point, np.random.default_rng(seed))
    assert len(around)
    assert ((around != point).sum(axis=1) == 1).all()
    assert (around[:, ~FREE] == point[~FREE]).all()
    # Those that are searched have all the neighbours that they have without.
    few = [j for j in np.flatnonzero(FREE) if SPACE.parameters[j].name in {"bit", "few_log"}]
    plain = Lattice(SPACE).neighbours(snap(x)[0], np.random.default_rng(seed))
    for j in few:
        assert set(around[:, j]) == set(plain[:, j])


def test_pinning_changes_nothing_that_it_is_given_and_nothing_pinned_moves_smoothly() -> None:
    x = np.random.default_rng(1).random((4, D))
    before = x.copy()
    lattice = Lattice(SPACE, PINNED)
    lattice.pinned(x)
    assert (x == before).all()
    assert not lattice.smooth[~FREE].any()
    assert (lattice.smooth[FREE] == Lattice(SPACE).smooth[FREE]).all()


def test_with_everything_pinned_there_is_one_point() -> None:
    lattice = Lattice(SPACE, dict.fromkeys(range(D), 0.25))
    x = lattice.snap(np.random.default_rng(1).random((4, D)))
    assert (x == 0.25).all()
    assert lattice.neighbours(x[0], np.random.default_rng(0)).shape == (0, D)


@settings(deadline=None)
@given(st.lists(rows, min_size=0, max_size=3), st.integers(0, 99))
def test_neighbours_of_several_are_those_of_each(several: list[list[float]], seed: int) -> None:
    lattice = Lattice(SPACE)
    points = lattice.snap(np.array(several).reshape(-1, D))
    rng = np.random.default_rng(seed)
    expected = [lattice.neighbours(point, rng) for point in points]
    got = lattice.neighbours_of_snapped(points, np.random.default_rng(seed))
    assert np.array_equal(got, np.concatenate([np.empty((0, D)), *expected]))


def test_neighbours_of_a_point_that_is_not_snapped_are_snapped() -> None:
    lattice, point = Lattice(SPACE), np.full(D, 0.37)
    around = lattice.neighbours(point, np.random.default_rng(1))
    (snapped,) = lattice.snap(point[None])
    assert (lattice.snap(around) == around).all()
    assert ((around != snapped).sum(axis=1) <= 1).all()
