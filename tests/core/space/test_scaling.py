import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.core import naive
from tunesmith_core.space import Continuous, Integer, Scaling
from tunesmith_core.space.ranges import INT64_MAX, INT64_MIN
from tunesmith_core.space.scaling import (
    continuous_from_unit,
    continuous_to_unit,
    integer_from_unit,
    integer_masses,
    integer_to_unit,
    scaled_distance,
)

EPS = 2.0**-52
LIN, LOG, REVERSE = Scaling.LINEAR, Scaling.LOGARITHMIC, Scaling.REVERSE_LOGARITHMIC
DECADES = st.floats(-290, 290).map(lambda exponent: 10**exponent)
SIGNED = st.one_of(DECADES, DECADES.map(lambda x: -x), st.floats(-10, 10), st.just(0.0))
NEAR_ONE = st.one_of(
    st.just(0.0),
    st.floats(1e-20, 1 - 2**-53),
    st.floats(-15, 0).map(lambda exponent: 1 - 10**exponent),
)
BOUNDS = {LIN: SIGNED, Scaling.AUTO: SIGNED, LOG: DECADES, REVERSE: NEAR_ONE}
UNIT = st.floats(0, 1)


@st.composite
def continuous_ranges(draw: st.DrawFn) -> Continuous:
    scaling = draw(st.sampled_from(list(Scaling)))
    lo = draw(BOUNDS[scaling])
    ulps_apart = st.integers(1, 1000).map(lambda ulps: lo + ulps * max(np.spacing(lo), 1e-30))
    hi = draw(BOUNDS[scaling] | ulps_apart.map(float))
    lo, hi = min(lo, hi), max(lo, hi)
    assume(
        lo < hi and not (scaling is LOG and hi / lo > 1e290) and (scaling is not REVERSE or hi < 1)
    )
    return Continuous(name="x", lo=lo, hi=hi, scaling=scaling)


@st.composite
def integer_ranges(draw: st.DrawFn, *, widest: int = 2**64) -> Integer:
    scaling = draw(st.sampled_from([Scaling.AUTO, LIN, LOG]))
    lo = draw(st.integers(1 if scaling is LOG else INT64_MIN, INT64_MAX) | st.integers(1, 9))
    hi = draw(st.integers(lo, min(INT64_MAX, lo + widest - 1)))
    return Integer(name="n", lo=lo, hi=hi, scaling=scaling)


def encode(x: float, r: Continuous) -> float:
    return float(continuous_to_unit(np.array([x]), lo=r.lo, hi=r.hi, scaling=r.scaling)[0])


def decode(u: float, r: Continuous) -> float:
    return float(continuous_from_unit(np.array([u]), lo=r.lo, hi=r.hi, scaling=r.scaling)[0])


def encode_integer(value: int, r: Integer) -> float:
    return float(integer_to_unit(np.array([value]), lo=r.lo, hi=r.hi, scaling=r.scaling)[0])


def decode_integer(u: float, r: Integer) -> int:
    return int(integer_from_unit(np.array([u]), lo=r.lo, hi=r.hi, scaling=r.scaling)[0])


def slope(x: float, scaling: Scaling) -> float:
    """The derivative of s at x."""
    return {LOG: lambda: 1 / x, REVERSE: lambda: 1 / (1 - x)}.get(scaling, lambda: 1.0)()


def span(r: Continuous) -> float:
    return float(scaled_distance(np.array(r.hi), lo=r.lo, scaling=r.scaling))


@given(continuous_ranges())
def test_both_bounds_are_reached_exactly(r: Continuous) -> None:
    assert (encode(r.lo, r), encode(r.hi, r)) == (0, 1)
    assert (decode(0, r), decode(1, r)) == (r.lo, r.hi)


@settings(deadline=None)
@given(continuous_ranges(), UNIT)
def test_encoding_agrees_with_exact_arithmetic(r: Continuous, u: float) -> None:
    x = decode(u, r)
    expected = naive.to_unit(x, r.lo, r.hi, r.scaling)
    assert encode(x, r) == pytest.approx(expected, rel=8 * EPS, abs=1e-30)


@settings(deadline=None)
@given(continuous_ranges(), UNIT)
def test_decoding_agrees_with_exact_arithmetic(r: Continuous, u: float) -> None:
    expected = naive.from_unit(u, r.lo, r.hi, r.scaling)
    in_s = 4 * EPS * span(r) / slope(min(expected, r.hi), r.scaling)
    x = decode(u, r)
    assert r.lo <= x <= r.hi
    assert abs(x - expected) <= in_s + 4 * EPS * max(abs(r.lo), abs(expected))


@given(continuous_ranges(), st.floats(allow_nan=False))
def test_decoding_never_leaves_the_range(r: Continuous, u: float) -> None:
    assert r.lo <= decode(u, r) <= r.hi


@pytest.mark.parametrize(
    ("lo", "hi", "scaling", "middle"),
    [
        (-2.0, 6.0, LIN, 2.0),
        (-2.0, 6.0, Scaling.AUTO, 2.0),
        (1e-9, 1e3, LOG, 1e-3),
        (1e-6, 1e6, LOG, 1.0),
        (0.0, 1 - 1e-6, REVERSE, 1 - 1e-3),
        (0.9, 0.999, REVERSE, 0.99),
    ],
)
def test_the_middle_is_where_the_scaling_says(
    lo: float, hi: float, scaling: Scaling, middle: float
) -> None:
    r = Continuous(name="x", lo=lo, hi=hi, scaling=scaling)
    assert decode(0.5, r) == pytest.approx(middle, rel=1e-11)
    assert encode(middle, r) == pytest.approx(0.5, rel=1e-11)


def test_a_range_of_two_neighbouring_floats_keeps_them_apart() -> None:
    for scaling, lo in ((LIN, 1e16), (LOG, 1e16), (REVERSE, 0.999)):
        r = Continuous(name="x", lo=lo, hi=math.nextafter(lo, math.inf), scaling=scaling)
        assert [encode(x, r) for x in (r.lo, r.hi)] == [0, 1]


def test_the_only_value_of_a_range_lies_in_the_middle() -> None:
    fixed = Continuous(name="x", lo=3e-7, hi=3e-7, scaling=LOG)
    assert encode(3e-7, fixed) == 0.5
    assert {decode(u, fixed) for u in (0, 0.3, 1)} == {3e-7}
    whole = Integer(name="n", lo=-4, hi=-4)
    assert encode_integer(-4, whole) == 0.5
    assert {decode_integer(u, whole) for u in (0, 0.3, 1)} == {-4}


@given(integer_ranges(widest=2**40), st.data())
def test_integers_survive_the_round_trip(r: Integer, data: st.DataObject) -> None:
    value = data.draw(st.integers(r.lo, r.hi))
    assert decode_integer(encode_integer(value, r), r) == value


@settings(deadline=None)
@given(integer_ranges(widest=2**40), UNIT)
def test_integer_decoding_rounds_as_exact_arithmetic_does(r: Integer, u: float) -> None:
    u = min(max(u, EPS), 1 - EPS)
    expected = {naive.integer_from_unit(v, r.lo, r.hi, r.scaling) for v in (u - 1e-14, u + 1e-14)}
    assert min(expected) <= decode_integer(u, r) <= max(expected)


@given(integer_ranges(), st.floats(allow_nan=False))
def test_integer_decoding_never_leaves_the_range(r: Integer, u: float) -> None:
    assert r.lo <= decode_integer(u, r) <= r.hi
    assert (decode_integer(0, r), decode_integer(1, r)) == (r.lo, r.hi)


@settings(deadline=None)
@given(integer_ranges(), st.data())
def test_integer_encoding_agrees_with_exact_arithmetic(r: Integer, data: st.DataObject) -> None:
    value = data.draw(st.integers(r.lo, r.hi))
    expected = naive.integer_to_unit(value, r.lo, r.hi, r.scaling)
    assert encode_integer(value, r) == pytest.approx(expected, rel=8 * EPS)


@pytest.mark.parametrize("lo", [2**53 - 3, 2**53 + 1, 2**62 + 1, -(2**63), 2**63 - 10])
@pytest.mark.parametrize("scaling", [LIN, LOG])
def test_integers_beyond_the_floats_stay_distinct(lo: int, scaling: Scaling) -> None:
    r = Integer(name="n", lo=lo, hi=lo + 9, scaling=LIN if lo < 0 else scaling)
    values = list(range(r.lo, r.hi + 1))
    points = [encode_integer(value, r) for value in values]
    assert points == pytest.approx([(i + 0.5) / 10 for i in range(10)])
    assert [decode_integer(point, r) for point in points] == values


def test_a_full_64_bit_range_reaches_both_ends_and_the_middle() -> None:
    r = Integer(name="n", lo=INT64_MIN, hi=INT64_MAX)
    assert [decode_integer(u, r) for u in (0, 0.5, 1)] == [INT64_MIN, 0, INT64_MAX]
    log = Integer(name="n", lo=1, hi=INT64_MAX, scaling=LOG)
    decoded = integer_from_unit(np.linspace(0, 1, 200), lo=1, hi=INT64_MAX, scaling=LOG)
    assert all(a <= b for a, b in pairwise(decoded.tolist()))
    assert decode_integer(1, log) == INT64_MAX


@pytest.mark.parametrize(("lo", "hi"), [(1, 1), (1, 7), (3, 40), (10**6, 10**6 + 5)])
@pytest.mark.parametrize("scaling", [Scaling.AUTO, LIN, LOG])
def test_integer_masses_are_the_shares_that_round_to_each(
    lo: int, hi: int, scaling: Scaling
) -> None:
    expected = [naive.integer_mass(value, lo, hi, scaling) for value in range(lo, hi + 1)]
    assert integer_masses(lo=lo, hi=hi, scaling=scaling) == pytest.approx(expected, rel=1e-13)


def test_the_first_integer_of_a_logarithmic_range_has_its_full_mass() -> None:
    mass = integer_masses(lo=1, hi=4, scaling=LOG)[0]
    assert mass == pytest.approx(math.log(1.5 / 0.5) / math.log(4.5 / 0.5))
