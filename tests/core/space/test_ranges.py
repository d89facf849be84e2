import math

import pytest

from tunesmith_core.errors import SpaceError
from tunesmith_core.space import Categorical, Continuous, Integer, Scaling, SearchSpace

LOG, REVERSE = Scaling.LOGARITHMIC, Scaling.REVERSE_LOGARITHMIC


@pytest.mark.parametrize(
    ("lo", "hi", "scaling", "message"),
    [
        (2.0, 1.0, Scaling.AUTO, "min 2.0 is above max 1.0; min must be at most max"),
        (math.nan, 1.0, Scaling.AUTO, "the bound nan is not finite"),
        (0.0, math.inf, Scaling.LINEAR, "the bound inf is not finite"),
        (-1.7e308, 1.7e308, Scaling.LINEAR, "max - min must be finite"),
        (0.0, 1.0, LOG, "every value must be above 0"),
        (-1.0, 1.0, LOG, "every value must be above 0"),
        (1e-200, 1e200, LOG, "max/min is at most 1e+300"),
        (0.5, 1.0, REVERSE, "it needs 0 <= min and max < 1"),
        (-0.1, 0.5, REVERSE, "it needs 0 <= min and max < 1"),
    ],
)
def test_a_wrong_continuous_range_is_refused_with_what_would_be_right(
    lo: float, hi: float, scaling: Scaling, message: str
) -> None:
    with pytest.raises(SpaceError) as refusal:
        Continuous(name="x", lo=lo, hi=hi, scaling=scaling)
    assert refusal.value.parameter_name == "x"
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("lo", "hi", "scaling", "message"),
    [
        (2, 1, Scaling.AUTO, "min 2 is above max 1"),
        (0, 2**63, Scaling.AUTO, "is not a 64-bit integer"),
        (-(2**63) - 1, 0, Scaling.AUTO, "is not a 64-bit integer"),
        (0, 1, LOG, "every value must be above 0"),
        (1, 2, REVERSE, "use Auto, Linear or Logarithmic"),
    ],
)
def test_a_wrong_integer_range_is_refused_with_what_would_be_right(
    lo: int, hi: int, scaling: Scaling, message: str
) -> None:
    with pytest.raises(SpaceError) as refusal:
        Integer(name="n", lo=lo, hi=hi, scaling=scaling)
    assert refusal.value.parameter_name == "n"
    assert message in str(refusal.value)


def test_a_categorical_without_values_is_refused() -> None:
    with pytest.raises(SpaceError, match="give at least one"):
        Categorical(name="c", values=())


def test_repeated_categorical_values_collapse_in_order() -> None:
    assert Categorical(name="c", values=("b", "a", "b", "")).values == ("b", "a", "")


def test_two_ranges_of_one_name_are_refused() -> None:
    with pytest.raises(SpaceError, match="parameter 'a': 2 ranges have this name"):
        SearchSpace((Integer(name="a", lo=0, hi=1), Categorical(name="a", values=("x",))))


def test_bounds_of_a_continuous_range_are_floats_even_when_given_as_integers() -> None:
    parameter = Continuous(name="x", lo=0, hi=1)
    assert (repr(parameter.lo), repr(parameter.hi)) == ("0.0", "1.0")


def test_cardinality_is_the_product_of_the_distinct_values() -> None:
    fixed = Continuous(name="x", lo=0.5, hi=0.5, scaling=LOG)
    whole = Integer(name="n", lo=-(2**63), hi=2**63 - 1)
    text = Categorical(name="c", values=("a", "b", "a"))
    assert SearchSpace((fixed, whole, text)).cardinality == 2**64 * 2
    assert SearchSpace(()).cardinality == 1
    assert SearchSpace((text, Continuous(name="y", lo=0, hi=1e-300))).cardinality is None


def test_scalings_have_the_spellings_of_the_service() -> None:
    assert list(Scaling) == ["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]
