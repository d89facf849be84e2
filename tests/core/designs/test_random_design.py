import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tunesmith_core
from tests.core import naive
from tunesmith_core.designs import Design, RandomDesign
from tunesmith_core.designs import random as random_design
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.randomness import MAX_SEED
from tunesmith_core.space import (
    Categorical,
    Continuous,
    Integer,
    Parameter,
    ParameterValue,
    Scaling,
    SearchSpace,
)

AUTO, LIN = Scaling.AUTO, Scaling.LINEAR
LOG, REVERSE = Scaling.LOGARITHMIC, Scaling.REVERSE_LOGARITHMIC
FREE = Continuous(name="free", lo=0, hi=1)
COLOURS = Categorical(name="colour", values=("red", "green", "blue"))
MIXED = SearchSpace(
    (
        Continuous(name="lr", lo=1e-6, hi=1e6, scaling=LOG),
        Integer(name="depth", lo=1, hi=50, scaling=LOG),
        COLOURS,
    )
)
TINY = SearchSpace((Integer(name="n", lo=1, hi=3, scaling=LOG),))
TINY_MASSES = [naive.integer_mass(value, 1, 3, LOG) for value in (1, 2, 3)]


def draws(parameter: Parameter, count: int, *, seed: int = 7) -> list[ParameterValue]:
    """Draw one parameter beside a free one, so that nothing repeats and draws are independent."""
    design = RandomDesign(SearchSpace((FREE, parameter)), seed)
    return [design.configuration(k)[parameter.name] for k in range(count)]


def order_of(design: Design) -> tuple[int, ...]:
    return tuple(int(design.configuration(k)["n"]) - 1 for k in range(3))


@pytest.mark.parametrize(
    ("lo", "hi", "scaling"),
    [
        (-3.0, 5.0, AUTO),
        (-3.0, 5.0, LIN),
        (1e16, 1e16 + 1e9, LIN),
        (1e-4, 1e-1, LOG),
        (1e-9, 1e3, LOG),
        (0.0, 0.9, REVERSE),
        (0.5, 1 - 1e-9, REVERSE),
    ],
)
def test_continuous_values_follow_the_declared_scaling(
    lo: float, hi: float, scaling: Scaling
) -> None:
    values = draws(Continuous(name="x", lo=lo, hi=hi, scaling=scaling), 4000)
    u = np.array([naive.to_unit(float(x), lo, hi, scaling) for x in values])
    assert naive.kolmogorov_smirnov(u) < 2
    assert u.min() >= 0
    assert u.max() <= 1


@pytest.mark.parametrize(
    ("lo", "hi", "scaling"),
    [
        (-3, 5, AUTO),
        (-3, 5, LIN),
        (1, 2, LOG),
        (1, 9, LOG),
        (3, 20, LOG),
        (2**53 + 1, 2**53 + 6, LIN),
    ],
)
def test_integers_follow_the_declared_scaling_edges_included(
    lo: int, hi: int, scaling: Scaling
) -> None:
    counts = Counter(draws(Integer(name="n", lo=lo, hi=hi, scaling=scaling), 6000))
    masses = {value: naive.integer_mass(value, lo, hi, scaling) for value in range(lo, hi + 1)}
    assert naive.chi_square_excess(counts, masses) < 5


@pytest.mark.parametrize("scaling", [LIN, LOG])
def test_wide_integer_ranges_follow_the_declared_scaling(scaling: Scaling) -> None:
    lo, hi = 1, 2**63 - 1
    values = draws(Integer(name="n", lo=lo, hi=hi, scaling=scaling), 2000)
    u = np.array([naive.integer_to_unit(int(n), lo, hi, scaling) for n in values])
    if scaling is LOG:
        # Small numbers take large shares of [0, 1]: spread each evenly over its own.
        shares = [naive.integer_mass(int(n), lo, hi, scaling) for n in values]
        u += (np.random.default_rng(3).random(len(u)) - 0.5) * shares
    assert naive.kolmogorov_smirnov(u) < 2


def test_a_wide_linear_integer_range_uses_all_64_bits() -> None:
    values = draws(Integer(name="n", lo=-(2**63), hi=2**63 - 1), 500)
    assert {int(value) % 2 for value in values} == {0, 1}
    assert len({int(value) % 1024 for value in values}) > 300


def test_categorical_values_are_equally_likely() -> None:
    counts = Counter(draws(COLOURS, 6000))
    assert naive.chi_square_excess(counts, dict.fromkeys(COLOURS.values, 1 / 3)) < 5


def test_repeated_categorical_values_weigh_no_more_than_others() -> None:
    counts = Counter(draws(Categorical(name="c", values=("a", "b", "a", "a")), 3000))
    assert naive.chi_square_excess(counts, {"a": 0.5, "b": 0.5}) < 5


def test_parameters_are_independent_of_each_other_and_of_the_suggestion_before() -> None:
    space = SearchSpace((FREE, Continuous(name="x", lo=0, hi=1)))
    design = RandomDesign(space, 5)
    rows = np.array([list(design.configuration(k).values()) for k in range(4000)], dtype=float)
    pairs = [(rows[:, 0], rows[:, 1]), *((column[1:], column[:-1]) for column in rows.T)]
    for a, b in pairs:
        assert abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(len(a)) < 4


def test_the_first_suggestion_over_many_seeds_follows_the_declared_scaling() -> None:
    space = SearchSpace((Integer(name="n", lo=1, hi=6, scaling=LOG), COLOURS))
    firsts = [RandomDesign(space, seed).configuration(0) for seed in range(5000)]
    masses = {
        (n, colour): naive.integer_mass(n, 1, 6, LOG) / 3
        for n, colour in product(range(1, 7), COLOURS.values)
    }
    counts = Counter((first["n"], first["colour"]) for first in firsts)
    assert naive.chi_square_excess(counts, masses) < 5


@pytest.mark.parametrize("limit", [random_design.ENUMERATION_LIMIT, 0])
def test_the_order_is_that_of_weighted_draws_with_rejection(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_design, "ENUMERATION_LIMIT", limit)
    counts = Counter(order_of(RandomDesign(TINY, seed)) for seed in range(4000))
    exact = {order: naive.order_probability(TINY_MASSES, order) for order in permutations(range(3))}
    assert naive.chi_square_excess(counts, exact) < 5
    rng = np.random.default_rng(11)
    rejected = Counter(naive.rejection_order(TINY_MASSES, rng) for _ in range(4000))
    assert naive.chi_square_excess(rejected, exact) < 5


@pytest.mark.parametrize("limit", [random_design.ENUMERATION_LIMIT, 0])
def test_a_finite_space_is_exhausted_without_repeats_then_refuses(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_design, "ENUMERATION_LIMIT", limit)
    space = SearchSpace((Integer(name="n", lo=1, hi=40, scaling=LOG), COLOURS))
    design = RandomDesign(space, 1)
    seen = {tuple(design.configuration(k).items()) for k in range(120)}
    assert len(seen) == 120
    for _ in range(2):
        with pytest.raises(SpaceExhausted, match="all 120 configurations") as refusal:
            design.configuration(120)
        assert refusal.value.suggested == 120


def test_a_finite_space_above_the_limit_never_repeats() -> None:
    space = SearchSpace((Integer(name="n", lo=1, hi=70_000, scaling=LOG),))
    design = RandomDesign(space, 3)
    assert len({design.configuration(k)["n"] for k in range(5000)}) == 5000


def test_a_continuous_range_of_three_floats_is_exhausted_after_three() -> None:
    hi = 1 + 2 * 2.0**-52
    design = RandomDesign(SearchSpace((Continuous(name="x", lo=1, hi=hi),)), 0)
    assert {design.configuration(k)["x"] for k in range(3)} == {1.0, 1 + 2.0**-52, hi}
    with pytest.raises(SpaceExhausted, match="all 3 configurations"):
        design.configuration(3)


def test_a_space_of_one_configuration_gives_it_once() -> None:
    space = SearchSpace(
        (
            Continuous(name="x", lo=2, hi=2),
            Integer(name="n", lo=3, hi=3),
            Categorical(name="c", values=("v",)),
        )
    )
    design = RandomDesign(space, MAX_SEED)
    assert design.configuration(0) == {"x": 2.0, "n": 3, "c": "v"}
    with pytest.raises(SpaceExhausted):
        design.configuration(1)


@settings(max_examples=25)
@given(
    st.sampled_from([MIXED, SearchSpace((COLOURS, Integer(name="n", lo=0, hi=99)))]),
    st.integers(0, MAX_SEED),
    st.lists(st.integers(0, 299), min_size=1, max_size=8),
)
def test_a_suggestion_does_not_depend_on_what_was_asked_before(
    space: SearchSpace, seed: int, asked: list[int]
) -> None:
    shared = RandomDesign(space, seed)
    for k in asked:
        assert shared.configuration(k) == RandomDesign(space, seed).configuration(k)


def test_seeds_give_different_suggestions() -> None:
    firsts = {tuple(RandomDesign(MIXED, seed).configuration(0).items()) for seed in range(100)}
    assert len(firsts) == 100


def test_a_new_process_gives_the_same_suggestions_and_loads_neither_scipy_nor_numba() -> None:
    program = """
import json, sys
from tunesmith_core.designs.random import RandomDesign
from tunesmith_core.space import Categorical, Continuous, Integer, Scaling, SearchSpace
log = Scaling.LOGARITHMIC
colour = Categorical(name="colour", values=("red", "green", "blue"))
depth = Integer(name="depth", lo=1, hi=50, scaling=log)
spaces = [(Continuous(name="lr", lo=1e-6, hi=1e6, scaling=log), depth, colour), (depth, colour)]
designs = [RandomDesign(SearchSpace(space), 2**31 - 1) for space in spaces]
json.dump([[d.configuration(k) for k in range(149, -1, -1)] for d in designs], sys.stdout)
assert not {"scipy", "numba"} & sys.modules.keys()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(tunesmith_core.__path__[0]).parent)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    )
    here = [RandomDesign(space, 2**31 - 1) for space in (MIXED, SearchSpace(MIXED.parameters[1:]))]
    expected = [[design.configuration(k) for k in range(149, -1, -1)] for design in here]
    assert json.loads(run.stdout) == expected


def test_a_number_below_zero_is_refused() -> None:
    for space in (MIXED, TINY):
        with pytest.raises(ValueError, match="they count from 0"):
            RandomDesign(space, 0).configuration(-1)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused_at_once(seed: int) -> None:
    with pytest.raises(ValueError, match="it must be in"):
        RandomDesign(MIXED, seed)


def test_a_wide_space_of_thirty_parameters_gives_values_inside_it() -> None:
    space = SearchSpace(
        tuple(Continuous(name=f"x{i}", lo=10.0**-i, hi=10.0**i, scaling=LOG) for i in range(15))
        + tuple(Categorical(name=f"c{i}", values=tuple(map(str, range(30)))) for i in range(15))
    )
    design = RandomDesign(space, 1)
    for a, b in pairwise(design.configuration(k) for k in range(100)):
        assert a != b
        assert all(10.0**-i <= float(a[f"x{i}"]) <= 10.0**i for i in range(15))
