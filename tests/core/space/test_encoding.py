import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith_core.errors import SpaceError
from tunesmith_core.space import (
    Categorical,
    Configuration,
    Continuous,
    Integer,
    Parameter,
    ParameterValue,
    Scaling,
    SearchSpace,
)
from tunesmith_core.space.encoding import (
    from_unit,
    from_unit_each,
    parse,
    parse_real,
    parse_whole,
    render,
    to_unit,
)

LR = Continuous(name="lr", lo=1e-9, hi=1e3, scaling=Scaling.LOGARITHMIC)
MOMENTUM = Continuous(name="momentum", lo=0, hi=0.999, scaling=Scaling.REVERSE_LOGARITHMIC)
DEPTH = Integer(name="depth", lo=1, hi=64, scaling=Scaling.LOGARITHMIC)
BIG = Integer(name="big", lo=2**53 + 1, hi=2**53 + 99)
KIND = Categorical(name="kind", values=('"512"', "adam", "", "é"))
FIXED = Categorical(name="fixed", values=("only",))
SPACE = SearchSpace((LR, MOMENTUM, DEPTH, BIG, KIND, FIXED))

VALUES: dict[str, st.SearchStrategy[ParameterValue]] = {
    "lr": st.floats(LR.lo, LR.hi),
    "momentum": st.floats(MOMENTUM.lo, MOMENTUM.hi),
    "depth": st.integers(DEPTH.lo, DEPTH.hi),
    "big": st.integers(BIG.lo, BIG.hi),
    "kind": st.sampled_from(KIND.values),
    "fixed": st.just("only"),
}
CONFIGURATIONS = st.fixed_dictionaries(VALUES)


@given(st.lists(CONFIGURATIONS, max_size=4))
def test_configurations_survive_the_round_trip(
    configurations: list[dict[str, ParameterValue]],
) -> None:
    points = to_unit(SPACE, configurations)
    assert points.shape == (len(configurations), SPACE.dimensions)
    assert ((points >= 0) & (points <= 1)).all()
    decoded = from_unit(SPACE, points)
    assert len(decoded) == len(configurations)
    for before, after in zip(configurations, decoded, strict=True):
        assert list(after) == list(SPACE.names)
        for name in ("lr", "momentum"):
            assert after[name] == pytest.approx(before[name], rel=1e-12, abs=1e-15)
        for name in ("depth", "big", "kind", "fixed"):
            assert after[name] == before[name]


@given(st.lists(st.lists(st.floats(-1, 2), min_size=6, max_size=6), max_size=4))
def test_any_finite_point_decodes_inside_the_space(rows: list[list[float]]) -> None:
    decoded = from_unit(SPACE, np.array(rows).reshape(-1, 6))
    to_unit(SPACE, decoded)
    assert len(decoded) == len(rows)
    for configuration in decoded:
        types = [type(value) for value in configuration.values()]
        assert types == [float, float, int, int, str, str]


def test_categorical_values_share_the_unit_interval_equally() -> None:
    space = SearchSpace((KIND,))
    points = to_unit(space, [{"kind": value} for value in KIND.values])
    assert points[:, 0].tolist() == [0.125, 0.375, 0.625, 0.875]
    edges = from_unit(space, np.array([[0.0], [0.2499], [0.25], [0.75], [1.0]]))
    assert [each["kind"] for each in edges] == ['"512"', '"512"', "adam", "é", "é"]


def test_a_space_without_parameters_encodes_to_no_coordinates() -> None:
    empty = SearchSpace(())
    assert to_unit(empty, [{}, {}]).shape == (2, 0)
    assert from_unit(empty, np.empty((2, 0))) == [{}, {}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 2e3}, r"parameter 'lr': the value 2000.0 .* \[1e-09, 1000.0\]"),
        ({"lr": math.nan}, "the value nan is outside"),
        ({"lr": "1"}, "give a number in"),
        ({"depth": 0}, r"give a whole number in \[1, 64\]"),
        ({"depth": 3.0}, "the value 3.0 is outside"),
        ({"kind": "sgd"}, """give one of '"512"', 'adam', '', 'é'"""),
        ({"extra": 1}, "parameter 'extra': the space has no such parameter"),
    ],
)
def test_a_configuration_outside_the_space_is_refused(change: Configuration, message: str) -> None:
    inside = from_unit(SPACE, np.full((1, 6), 0.5))[0]
    with pytest.raises(SpaceError, match=message):
        to_unit(SPACE, [{**inside, **change}])


def test_a_configuration_without_some_value_is_refused() -> None:
    with pytest.raises(SpaceError, match="parameter 'kind': the configuration has no value"):
        to_unit(SearchSpace((KIND,)), [{}])


@pytest.mark.parametrize("shape", [(6,), (1, 5), (1, 1, 6)])
def test_points_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"not \(n, 6\)"):
        from_unit(SPACE, np.zeros(shape))


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        from_unit(SPACE, np.full((1, 6), math.nan))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.37772700838669704, "0.37772700838669704"),
        (1.3494417573713629e-08, "1.3494417573713629e-08"),
        (8.0, "8.0"),
        (float(np.float64(0.1)), "0.1"),
        (np.float64(0.1), "0.1"),
        (8, "8"),
        (-(2**63), "-9223372036854775808"),
        ('"512"', '"512"'),
        ("", ""),
    ],
)
def test_values_are_rendered_as_a_training_job_gets_them(value: ParameterValue, text: str) -> None:
    assert render(value) == text


@given(CONFIGURATIONS)
def test_rendered_values_read_back_the_same(configuration: dict[str, ParameterValue]) -> None:
    for parameter in SPACE.parameters:
        value = configuration[parameter.name]
        read = parse(parameter, render(value))
        assert (type(read), read) == (type(value), value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_reads_back_the_same(value: float) -> None:
    assert parse_real(render(value)) == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_64_bit_integer_reads_back_the_same(value: int) -> None:
    assert parse_whole(render(value)) == value


@pytest.mark.parametrize(
    ("parameter", "text", "message"),
    [
        (LR, "fast", "parameter 'lr': 'fast' is not a finite decimal number; give a number in"),
        (LR, "nan", "not a finite decimal number"),
        (LR, "1e999", "not a finite decimal number"),
        (LR, "1_0", "not a finite decimal number"),
        (LR, " 1", "not a finite decimal number"),
        (LR, "٣", "not a finite decimal number"),
        (LR, "1001", r"the value 1001.0 is outside its range; give a number in \[1e-09, 1000.0\]"),
        (DEPTH, "8.0", "parameter 'depth': '8.0' is not a whole number; give a whole number in"),
        (DEPTH, "65", r"the value 65 is outside its range; give a whole number in \[1, 64\]"),
        (DEPTH, "9" * 10_000, "is not a whole number"),
        (KIND, "512", "the value '512' is outside its range"),
    ],
)
def test_text_that_is_no_value_is_refused(parameter: Parameter, text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as refusal:
        parse(parameter, text)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("text", ["1", "+1", "1.", "1e0", "1E+0", "10e-1", "01.0"])
def test_the_usual_spellings_of_a_number_are_read(text: str) -> None:
    assert parse_real(text) == 1.0


@given(st.lists(st.floats(-0.5, 1.5), min_size=0, max_size=60))
def test_points_of_several_spaces_decode_as_each_does(numbers: list[float]) -> None:
    spaces: list[SearchSpace] = []
    points = []
    for start in range(0, len(numbers) - SPACE.dimensions + 1, SPACE.dimensions):
        few = SPACE.dimensions - len(spaces) % SPACE.dimensions
        spaces.append(SearchSpace(SPACE.parameters[:few]))
        points.append(np.array(numbers[start : start + few]))
    got = from_unit_each(spaces, points)
    for space, point, configuration in zip(spaces, points, got, strict=True):
        (expected,) = from_unit(space, point[None])
        assert list(configuration) == list(expected)
        for got_value, value in zip(configuration.values(), expected.values(), strict=True):
            if isinstance(value, float):
                assert got_value == pytest.approx(value, rel=1e-13)
            else:
                assert got_value == value
            assert type(got_value) is type(value)
