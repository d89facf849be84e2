import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

import tunesmith_core
from tests.core import naive
from tunesmith_core.designs.quasi_random import QuasiRandomDesign
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
from tunesmith_core.space.encoding import from_unit, to_unit
from tunesmith_core.space.scaling import F64

LIN, LOG, REVERSE = Scaling.LINEAR, Scaling.LOGARITHMIC, Scaling.REVERSE_LOGARITHMIC
FREE = Continuous(name="free", lo=0, hi=1)
COLOURS = Categorical(name="colour", values=("red", "green", "blue"))
DEPTH = Integer(name="depth", lo=1, hi=50, scaling=LOG)
MIXED = SearchSpace((Continuous(name="lr", lo=1e-6, hi=1e6, scaling=LOG), DEPTH, COLOURS))
CUBE = SearchSpace(tuple(Continuous(name=f"x{j}", lo=0, hi=1) for j in range(4)))


def draws(parameter: Parameter, count: int) -> list[ParameterValue]:
    """Draw one parameter beside a free one, so that nothing repeats."""
    design = QuasiRandomDesign(SearchSpace((FREE, parameter)), 7)
    return [design.configuration(k)[parameter.name] for k in range(count)]


def first_points(space: SearchSpace, seed: int, count: int) -> F64:
    design = QuasiRandomDesign(space, seed)
    return to_unit(space, [design.configuration(k) for k in range(count)])


@pytest.mark.parametrize("seed", [0, 1, MAX_SEED])
def test_the_first_suggestion_is_the_centre(seed: int) -> None:
    expected = from_unit(MIXED, np.full((1, 3), 0.5))[0]
    assert QuasiRandomDesign(MIXED, seed).configuration(0) == expected
    assert expected == {"lr": pytest.approx(1.0), "depth": 5, "colour": "green"}


def test_suggestions_are_distinct() -> None:
    for space in (MIXED, CUBE, SearchSpace((DEPTH, COLOURS))):
        design = QuasiRandomDesign(space, 3)
        rows = [tuple(design.configuration(k).values()) for k in range(150)]
        assert len(set(rows)) == 150


@pytest.mark.parametrize("count", [16, 64, 256])
def test_points_are_more_even_than_random_ones(count: int) -> None:
    for seed in range(5):
        ours = qmc.discrepancy(first_points(CUBE, seed, count))
        rng = np.random.default_rng(seed)
        theirs = [qmc.discrepancy(rng.random((count, 4))) for _ in range(10)]
        assert ours < min(theirs)


def test_the_first_points_of_one_coordinate_share_it_evenly() -> None:
    # After the centre come 64 points of a scrambled Sobol sequence: one in each 64th.
    for column in first_points(CUBE, 5, 65)[1:].T:
        assert sorted(np.floor(64 * column).astype(int).tolist()) == list(range(64))


@pytest.mark.parametrize(
    ("lo", "hi", "scaling"),
    [
        (-3.0, 5.0, Scaling.AUTO),
        (-3.0, 5.0, LIN),
        (1e-9, 1e3, LOG),
        (0.0, 0.9, REVERSE),
        (0.5, 1 - 1e-9, REVERSE),
    ],
)
def test_continuous_values_follow_the_declared_scaling(
    lo: float, hi: float, scaling: Scaling
) -> None:
    values = draws(Continuous(name="x", lo=lo, hi=hi, scaling=scaling), 1024)
    u = np.array([naive.to_unit(float(x), lo, hi, scaling) for x in values])
    # Far more even than independent draws, which reach 2 with chance 0.0007.
    assert naive.kolmogorov_smirnov(u) < 0.3


@pytest.mark.parametrize(("lo", "hi", "scaling"), [(-3, 5, LIN), (1, 9, LOG), (3, 20, LOG)])
def test_integers_follow_the_declared_scaling_edges_included(
    lo: int, hi: int, scaling: Scaling
) -> None:
    values = draws(Integer(name="n", lo=lo, hi=hi, scaling=scaling), 1024)
    for value in range(lo, hi + 1):
        share = naive.integer_mass(value, lo, hi, scaling)
        assert values.count(value) / 1024 == pytest.approx(share, abs=4 / 1024)


def test_categorical_values_are_equally_likely() -> None:
    values = draws(COLOURS, 1024)
    for value in COLOURS.values:
        assert values.count(value) / 1024 == pytest.approx(1 / 3, abs=4 / 1024)


@pytest.mark.parametrize(
    ("space", "count"),
    [
        (SearchSpace((Integer(name="n", lo=1, hi=40, scaling=LOG), COLOURS)), 120),
        (SearchSpace((Integer(name="n", lo=1, hi=1000, scaling=LOG),)), 1000),
        (SearchSpace((COLOURS,)), 3),
        (SearchSpace((Continuous(name="x", lo=1, hi=1 + 2.0**-51),)), 3),
        (SearchSpace((Continuous(name="x", lo=2, hi=2), Integer(name="n", lo=3, hi=3))), 1),
        (SearchSpace(()), 1),
    ],
)
@pytest.mark.parametrize("seed", [0, 11])
def test_a_finite_space_is_exhausted_without_repeats_then_refuses(
    space: SearchSpace, count: int, seed: int
) -> None:
    design = QuasiRandomDesign(space, seed)
    seen = {tuple(design.configuration(k).values()) for k in range(count)}
    assert len(seen) == count
    for _ in range(2):
        said = "the only configuration" if count == 1 else f"all {count} configurations"
        with pytest.raises(SpaceExhausted, match=said) as refusal:
            design.configuration(count)
        assert refusal.value.suggested == count
    assert len({tuple(design.configuration(k).values()) for k in range(count)}) == count


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([MIXED, CUBE, SearchSpace((COLOURS, Integer(name="n", lo=0, hi=99)))]),
    st.integers(0, MAX_SEED),
    st.lists(st.integers(0, 299), min_size=1, max_size=8),
)
def test_a_suggestion_does_not_depend_on_what_was_asked_before(
    space: SearchSpace, seed: int, asked: list[int]
) -> None:
    shared = QuasiRandomDesign(space, seed)
    for k in asked:
        assert shared.configuration(k) == QuasiRandomDesign(space, seed).configuration(k)


def test_seeds_give_different_suggestions_after_the_centre() -> None:
    seconds = {
        tuple(QuasiRandomDesign(MIXED, seed).configuration(1).values()) for seed in range(50)
    }
    assert len(seconds) == 50


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="the seed is"):
        QuasiRandomDesign(MIXED, seed)


def test_a_number_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match="they count from 0"):
        QuasiRandomDesign(MIXED, 0).configuration(-1)


def test_a_new_process_gives_the_same_suggestions() -> None:
    program = """
import json, sys
from tunesmith_core.designs.quasi_random import QuasiRandomDesign
from tunesmith_core.space import Categorical, Continuous, Integer, Scaling, SearchSpace
log = Scaling.LOGARITHMIC
colour = Categorical(name="colour", values=("red", "green", "blue"))
depth = Integer(name="depth", lo=1, hi=50, scaling=log)
lr = Continuous(name="lr", lo=1e-6, hi=1e6, scaling=log)
designs = [QuasiRandomDesign(SearchSpace(s), 2**31 - 1) for s in ((lr, depth, colour), (depth, colour))]
json.dump([[d.configuration(k) for k in range(149, -1, -1)] for d in designs], sys.stdout)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(tunesmith_core.__path__[0]).parent)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    )
    spaces = (MIXED, SearchSpace(MIXED.parameters[1:]))
    here = [QuasiRandomDesign(space, 2**31 - 1) for space in spaces]
    expected = [[design.configuration(k) for k in range(149, -1, -1)] for design in here]
    assert json.loads(run.stdout) == expected
