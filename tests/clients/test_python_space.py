"""Search spaces as Python programs write them: values survive, mistakes are named."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunesmith
from tunesmith.space import Range, read_space
from tunesmith_core.errors import SpaceError
from tunesmith_core.space.encoding import from_unit
from tunesmith_core.space.ranges import (
    Categorical,
    Configuration,
    Continuous,
    Integer,
    Scaling,
    SearchSpace,
)

HELPERS: dict[str, Any] = {
    name: getattr(tunesmith, name)
    for name in (
        "uniform",
        "log_uniform",
        "reverse_log_uniform",
        "integers",
        "log_integers",
        "choice",
    )
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.tuples(st.integers(), st.text(max_size=3))
)
values = scalars | st.lists(st.integers(), max_size=3)


def configurations(space: SearchSpace, count: int = 5) -> list[Configuration]:
    points = np.random.default_rng(0).random((count, space.dimensions))
    return list(from_unit(space, points))


@given(st.lists(values, min_size=1, max_size=8))
def test_a_choice_gives_the_same_objects_back(given_values: list[object]) -> None:
    space = read_space({"kind": tunesmith.choice(given_values)})
    (parameter,) = space.core.parameters
    assert isinstance(parameter, Categorical)
    for text in parameter.values:
        (value,) = space.to_user({"kind": text}).values()
        assert any(value is each for each in given_values)
        assert space.to_core({"kind": value}) == {"kind": text}


@given(st.lists(values, min_size=1, max_size=8))
def test_no_value_of_a_choice_is_lost(given_values: list[object]) -> None:
    space = read_space({"kind": tunesmith.choice(given_values)})
    for value in given_values:
        (back,) = space.to_user(space.to_core({"kind": value})).values()
        assert type(back) is type(value)
        assert back == value


def test_values_that_only_look_alike_are_different_choices() -> None:
    alike = [1, 1.0, True, "1", "True", None, "None", (1,), [1]]
    space = read_space({"kind": tunesmith.choice(alike)})
    assert space.core.cardinality == len(alike)
    back = [space.to_user(space.to_core({"kind": each}))["kind"] for each in alike]
    assert all(one is other for one, other in zip(back, alike, strict=True))


def test_a_choice_of_functions_classes_and_arrays_is_a_choice() -> None:
    things: list[Any] = [len, int, np.arange(3), np.arange(4), float("nan")]
    space = read_space({"thing": tunesmith.choice(things)})
    back = [space.to_user(space.to_core({"thing": each}))["thing"] for each in things]
    assert all(one is other for one, other in zip(back, things, strict=True))


def test_equal_values_of_a_choice_collapse_onto_the_first() -> None:
    assert read_space({"n": tunesmith.choice([3, 1, 3])}).core.cardinality == 2


def test_numbers_of_numpy_are_numbers() -> None:
    bounds: Any = np.array([1, 9])
    space = read_space(
        {
            "x": tunesmith.uniform(*bounds.astype(np.float32) - 1),
            "n": tunesmith.integers(*bounds),
            "c": tunesmith.choice([1, 2]),
        }
    )
    told = {"x": np.float32(0.5), "n": np.int16(3), "c": np.int64(2)}
    core = space.to_core(told)
    assert core == {"x": 0.5, "n": 3, "c": "1"}
    assert [type(value) for value in core.values()] == [float, int, str]
    assert space.to_core({**told, "n": 3.0})["n"] == 3


@pytest.mark.parametrize(
    ("written", "parameter"),
    [
        (tunesmith.uniform(0, 2), Continuous(name="p", lo=0, hi=2)),
        (
            tunesmith.log_uniform(1e-5, 1),
            Continuous(name="p", lo=1e-5, hi=1, scaling=Scaling.LOGARITHMIC),
        ),
        (
            tunesmith.reverse_log_uniform(0, 0.99),
            Continuous(name="p", lo=0, hi=0.99, scaling=Scaling.REVERSE_LOGARITHMIC),
        ),
        (tunesmith.integers(-3, 3), Integer(name="p", lo=-3, hi=3)),
        (
            tunesmith.log_integers(1, 9),
            Integer(name="p", lo=1, hi=9, scaling=Scaling.LOGARITHMIC),
        ),
        (tunesmith.choice(["a", "b"]), Categorical(name="p", values=("a", "b"))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_helper_is_a_range_of_sagemaker(written: Range, parameter: object) -> None:
    assert read_space({"p": written}).core.parameters == (parameter,)


@pytest.mark.parametrize(
    "written",
    [
        tunesmith.uniform(0, 1),
        tunesmith.log_uniform(1e-5, 0.1),
        tunesmith.reverse_log_uniform(0.5, 0.999),
        tunesmith.integers(2, 12),
        tunesmith.log_integers(2, 2**40),
        tunesmith.choice(["a", None, 3, (1, 2)]),
    ],
    ids=repr,
)
def test_a_range_is_written_as_it_was_made_and_survives_pickling(written: Range) -> None:
    assert eval(repr(written), HELPERS) == written  # noqa: S307 - our own text
    assert pickle.loads(pickle.dumps(written)) == written  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("helper", "arguments", "words"),
    [
        (
            "uniform",
            (
                1,
                0,
            ),
            ("uniform(1.0, 0.0)", "min must be at most max"),
        ),
        (
            "uniform",
            (
                "0",
                1,
            ),
            ("uniform", "'0'", "no number", "give a float"),
        ),
        (
            "uniform",
            (
                0,
                True,
            ),
            ("True", "no number"),
        ),
        (
            "uniform",
            (
                0,
                float("inf"),
            ),
            ("inf", "not finite"),
        ),
        (
            "uniform",
            (
                0,
                10**400,
            ),
            ("beyond a float64",),
        ),
        (
            "log_uniform",
            (
                0,
                1,
            ),
            ("log_uniform(0.0, 1.0)", "above 0"),
        ),
        (
            "reverse_log_uniform",
            (
                0,
                1,
            ),
            ("reverse_log_uniform", "max < 1"),
        ),
        (
            "integers",
            (
                1,
                1e3,
            ),
            ("1000.0", "give 1000"),
        ),
        (
            "integers",
            (
                1.5,
                3,
            ),
            ("1.5", "give an int"),
        ),
        (
            "integers",
            (
                0,
                2**63,
            ),
            ("64-bit",),
        ),
        (
            "log_integers",
            (
                0,
                3,
            ),
            ("log_integers(0, 3)", "above 0"),
        ),
        ("choice", ([],), ("choice([])", "at least one")),
        ("choice", ("abc",), ("choice(['abc'])",)),
        ("choice", (5,), ("choice([5])",)),
        ("choice", ({"a", "b"},), ("set", "give a list")),
    ],
)
def test_a_wrong_range_is_refused_where_it_is_made(
    helper: str, arguments: tuple[object, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises(SpaceError) as refused:
        HELPERS[helper](*arguments)
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, ("no parameters",)),
        (SearchSpace(()), ("no parameters",)),
        ([("x", tunesmith.uniform(0, 1))], ("give a dict",)),
        ({"x": (0, 1)}, ("'x'", "(0, 1)", "tunesmith.uniform(lo, hi)")),
        ({"x": ["a", "b"]}, ("'x'", "choice([...])")),
        ({1: tunesmith.uniform(0, 1)}, ("1", "no text")),
        ({"ParameterRanges": {}}, ("the value of its ParameterRanges alone",)),
    ],
)
def test_what_is_no_space_is_refused_with_what_would_be(space: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(SpaceError) as refused:
        read_space(space)
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"x": 0.5}, ("'kind'", "no value")),
        ({"x": 0.5, "kind": None, "y": 1}, ("'y'", "no such parameter", "'x', 'kind'")),
        ({"x": 2, "kind": None}, ("'x'", "outside", "[0.0, 1.0]")),
        ({"x": float("nan"), "kind": None}, ("'x'", "outside")),
        ({"x": "0.5", "kind": None}, ("'x'", "no number")),
        ({"x": True, "kind": None}, ("'x'", "no number")),
        ({"x": 0.5, "kind": "b"}, ("'kind'", "'b'", "'a', None")),
    ],
)
def test_parameters_that_are_not_of_the_space_are_refused(
    parameters: dict[str, Any], words: tuple[str, ...]
) -> None:
    space = read_space({"x": tunesmith.uniform(0, 1), "kind": tunesmith.choice(["a", None])})
    with pytest.raises(SpaceError) as refused:
        space.to_core(parameters)
    assert [word for word in words if word not in str(refused.value)] == []


def test_the_cores_own_space_is_one() -> None:
    core = SearchSpace((Continuous(name="x", lo=0, hi=1), Categorical(name="k", values=("a", "b"))))
    space = read_space(core)
    assert space.core == core
    for configuration in configurations(core):
        assert space.to_core(space.to_user(configuration)) == configuration
