from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Parameter, Scaling
from tunesmith_server.domain.hints import STATIC_NAMES, choose_range, range_from_hint
from tunesmith_server.domain.names import EPOCHS

LOGARITHMIC, REVERSE = Scaling.LOGARITHMIC, Scaling.REVERSE_LOGARITHMIC


@pytest.mark.parametrize(
    ("hint", "low", "high"),
    [
        ("4", 2, 8),
        ("1", 1, 2),
        ("2", 1, 4),
        ("3", 1, 6),
        ("+64", 32, 128),
        ("100000", 50000, 200000),
    ],
)
def test_a_whole_number_is_halved_and_doubled(hint: str, low: int, high: int) -> None:
    assert range_from_hint("max_depth", hint) == Integer(name="max_depth", lo=low, hi=high)


@pytest.mark.parametrize(
    ("hint", "low", "high", "scaling"),
    [
        ("0.001", 0.0001, 0.01, LOGARITHMIC),
        ("3e-4", 3e-05, 0.003, LOGARITHMIC),
        (".09", 0.009, 0.9, LOGARITHMIC),
        ("0.1", 0.05, 0.2, Scaling.AUTO),
        ("0.3", 0.15, 0.6, Scaling.AUTO),
        ("0.5", 0.25, 0.75, Scaling.AUTO),
        ("0.9", 0.45, 0.95, Scaling.AUTO),
        ("0.95", 0.5, 0.995, REVERSE),
        ("0.999", 0.99, 0.9999, REVERSE),
        ("1.0", 0.5, 2.0, Scaling.AUTO),
        ("12.5", 6.25, 25.0, Scaling.AUTO),
        ("1e3", 500.0, 2000.0, Scaling.AUTO),
    ],
)
def test_a_real_number_is_ranged_on_its_scale(
    hint: str, low: float, high: float, scaling: Scaling
) -> None:
    assert range_from_hint("x", hint) == Continuous(name="x", lo=low, hi=high, scaling=scaling)


@pytest.mark.parametrize("values", [("true", "false"), ("True", "False"), ("TRUE", "FALSE")])
def test_truth_is_tried_both_ways_in_its_spelling(values: tuple[str, str]) -> None:
    for hint in values:
        assert range_from_hint("shuffle", hint) == Categorical(name="shuffle", values=values)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        # What SageMaker's SDK sends of an estimator, and of a built-in algorithm.
        ("sagemaker_container_log_level", "20"),
        ("sagemaker_program", '"mnist.py"'),
        ("sagemaker_submit_directory", '"s3://bucket/source.tar.gz"'),
        ("_tuning_objective_metric", "loss"),
        ("feature_dim", "784"),
        ("mini_batch_size", "500"),
        ("optimizer", "sgd"),
        ("optimizer", '"sgd"'),
        ("image_shape", "3,224,224"),
        ("data", "s3://bucket/prefix"),
        ("quoted", '"0.1"'),
        # What describes the data or the run.
        ("num_classes", "10"),
        ("num-classes", "10"),
        ("NUM_CLASS", "10"),
        ("epochs", "40"),
        ("n-epochs", "40"),
        ("seed", "42"),
        ("random_state", "42"),
        ("n_jobs", "8"),
        ("verbose", "true"),
        # Numbers that mean off, or nothing that can be carried.
        ("depth", "0"),
        ("depth", "-1"),
        ("x", "-0.5"),
        ("x", "0.0"),
        ("x", "nan"),
        ("x", "inf"),
        ("x", "1e308"),
        ("x", "1e-323"),
        ("x", "1e-99999999999999999999"),
        ("x", "0.99999999999999999999"),
        ("id", "9223372036854775807"),
        ("id", "1" * 200),
        ("x", ""),
        ("x", " 1"),
        ("x", "1_000"),
        ("x", "٣"),
        ("x", "tRUE"),
        ("x", "yes"),
    ],
)
def test_what_is_none_to_tune_stays_at_its_hint(name: str, hint: str) -> None:
    assert range_from_hint(name, hint) is None


def test_names_of_epochs_are_static() -> None:
    assert {name.replace("-", "_") for name in EPOCHS} <= STATIC_NAMES


@given(hint=st.one_of(st.text(max_size=256), st.integers().map(str), st.floats().map(repr)))
def test_every_text_is_a_range_around_it_or_none(hint: str) -> None:
    chosen = range_from_hint("x", hint)
    if isinstance(chosen, Integer | Continuous):
        assert chosen.lo <= float(hint) <= chosen.hi
        assert chosen.lo < chosen.hi
    elif chosen is not None:
        assert hint in chosen.values


DEPTH = Integer(name="depth", lo=1, hi=99)
SPECIFICATION: dict[str, Parameter | None] = {"depth": DEPTH, "rate": None}


def test_a_specification_goes_before_the_hint() -> None:
    assert choose_range("depth", "4", specification=SPECIFICATION) == DEPTH
    assert choose_range("depth", "deep", specification=SPECIFICATION) == DEPTH
    assert choose_range("rate", "0.5", specification=SPECIFICATION) is None
    assert choose_range("unlisted", "0.5", specification=SPECIFICATION) is None
    assert choose_range("depth", "4", specification={}) == Integer(name="depth", lo=2, hi=8)


def test_a_grid_searches_lists_of_values_alone() -> None:
    assert choose_range("depth", "4", is_grid=True) is None
    assert choose_range("shuffle", "true", is_grid=True) is not None
