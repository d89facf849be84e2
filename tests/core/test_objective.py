"""The slope of the warping by differences, and the choice of telling observations by its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith_core.objective import slope_of, telling, warped, warped_each
from tunesmith_core.space.scaling import F64

HOSTILE = st.one_of(
    st.floats(allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 5e-324, 1e-310, 1e300, -1e300, 1.7e308, -1.7e308]),
)


def slope_by_differences(values: F64) -> float:
    """How much the warping changes from one value of the better half to the next: all are alike."""
    y = warped(values)
    good = np.unique(values[values <= np.nanmedian(values)])
    places = [float(y[values == value][0]) for value in good]
    slopes = np.diff(places) / np.diff(good)
    assert slopes == pytest.approx(np.full(len(slopes), slopes[0]), rel=1e-6)
    return float(slopes[0])


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6, 1e300, 1e-300])
@pytest.mark.parametrize("failures", [0, 4])
def test_the_slope_is_that_of_the_warping_where_values_are_good(
    scale: float, failures: int
) -> None:
    for seed in range(5):
        values = scale * np.random.default_rng(seed).standard_normal(15)
        values = np.concatenate([np.full(failures, np.nan), values])
        expected = slope_by_differences(values)
        assert slope_of(values, warped(values)) == pytest.approx(expected, rel=1e-6)


def test_where_half_of_the_values_are_the_best_the_slope_is_that_to_the_worst() -> None:
    values = np.array([2.0, 2.0, 2.0, 5.0, 3.0])
    y = warped(values)
    assert slope_of(values, y) == pytest.approx((y[3] - y[0]) / 3)


@pytest.mark.parametrize(
    "values",
    [[], [np.nan], [np.nan, np.nan], [3.0], [3.0, 3.0, np.nan], [0.0, 0.0], [1e300, 1e300]],
    ids=str,
)
def test_without_two_different_values_there_is_no_slope(values: list[float]) -> None:
    given_values = np.array(values)
    assert slope_of(given_values, warped(given_values)) == 0.0


@settings(deadline=None)
@given(st.lists(st.one_of(HOSTILE, st.just(np.nan)), max_size=12))
def test_whatever_the_values_the_slope_is_finite_and_not_below_0(values: list[float]) -> None:
    given_values = np.array(values, dtype=np.float64)
    slope = slope_of(given_values, warped(given_values))
    assert np.isfinite(slope)
    assert slope >= 0


@settings(deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=12), st.integers(-500, 500))
def test_in_another_unit_the_slope_is_another_by_as_much(whole: list[int], power: int) -> None:
    values = np.array(whole, dtype=np.float64)
    unit = 2.0**power
    assert slope_of(values * unit, warped(values * unit)) * unit == pytest.approx(
        slope_of(values, warped(values)), rel=1e-9
    )


def naive_telling(y: F64, count: int) -> list[int]:
    """Take the best half, and of the others the first, the last, and every so many between."""
    order = sorted(range(len(y)), key=lambda index: (np.isnan(y[index]), y[index], index))
    best, rest = order[: count // 2], order[count // 2 :]
    wanted = count - len(best)
    steps = [step * (len(rest) - 1) / (wanted - 1) if wanted > 1 else 0 for step in range(wanted)]
    return sorted(best + [rest[int(step)] for step in steps])


@settings(deadline=None)
@given(st.data(), st.lists(st.one_of(HOSTILE, st.just(np.nan)), min_size=2, max_size=40))
def test_telling_observations_are_the_better_half_and_some_of_all_the_rest(
    data: st.DataObject, values: list[float]
) -> None:
    y = np.array(values, dtype=np.float64)
    count = data.draw(st.integers(0, len(y) - 1))
    chosen = telling(y, count)
    assert len(set(chosen.tolist())) == count
    assert chosen.tolist() == naive_telling(y, count)


def test_the_worst_of_many_is_among_the_telling_ones() -> None:
    y = np.random.default_rng(0).standard_normal(3000)
    y[::7] = np.nan
    chosen = telling(y, 400)
    order = np.argsort(y)
    assert set(order[:200].tolist()) < set(chosen.tolist())
    assert np.isnan(y[chosen]).sum() > 20


@given(st.lists(st.lists(HOSTILE, min_size=1, max_size=12), min_size=1, max_size=4))
def test_many_histories_are_warped_as_each_is(histories: list[list[float]]) -> None:
    most = max(map(len, histories))
    values, there = np.zeros((len(histories), most)), np.zeros((len(histories), most), dtype=bool)
    for row, is_there, history in zip(values, there, histories, strict=True):
        row[: len(history)], is_there[: len(history)] = history, True
    got = warped_each(values, there)
    for row, history in zip(got, histories, strict=True):
        np.testing.assert_allclose(row[: len(history)], warped(np.array(history)), atol=1e-12)
        assert not row[len(history) :].any()
