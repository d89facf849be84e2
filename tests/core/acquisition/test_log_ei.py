"""The logarithm of the expected improvement against mpmath, down to where nothing is expected."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.core import naive
from tunesmith_core.acquisition.log_ei import (
    TAIL,
    log_ei,
    log_ei_with_slopes,
    log_h,
    log_news,
)
from tunesmith_core.space.scaling import F64

pytestmark = pytest.mark.usefixtures("warm")

Values = Callable[[F64], tuple[F64, F64]]


def by_kernel(t: F64) -> tuple[F64, F64]:
    """Compute ln h and its derivative one by one, by the compiled kernel."""
    from tunesmith_core.acquisition import _climb_numba as kernels

    pairs = np.array([kernels.log_h(each) for each in t.tolist()])
    return pairs[:, 0], pairs[:, 1]


BOTH = pytest.mark.parametrize("values", [log_h, by_kernel])


def arguments() -> F64:
    rng = np.random.default_rng(1)
    seam = [np.nextafter(TAIL, -9), TAIL, np.nextafter(TAIL, 0)]
    return np.concatenate(
        [rng.uniform(-10, 10, 1500), -(10 ** rng.uniform(0.5, 6, 1000)), seam, [-1e6, 0.0, 10.0]]
    )


@BOTH
def test_the_logarithm_agrees_with_exact_arithmetic_from_10_to_minus_a_million(
    values: Values,
) -> None:
    t = arguments()
    got, slopes = values(t)
    for each, value, slope in zip(t.tolist(), got.tolist(), slopes.tolist(), strict=True):
        exact, exact_slope = naive.log_h(each)
        # An error of h relative to itself is one of ln h as it stands, which passes through 0.
        assert abs(value - exact) <= 1e-13 * max(1, abs(exact)), each
        assert abs(slope - exact_slope) <= 1e-13 * exact_slope, each


@BOTH
def test_the_logarithm_is_finite_and_falls_down_to_minus_1e150(values: Values) -> None:
    t = -np.logspace(-3, 150, 2000)
    got, slopes = values(t)
    assert np.isfinite(got).all()
    assert np.isfinite(slopes).all()
    assert (np.diff(got) < 0).all()
    assert slopes[-1] == pytest.approx(1e150, rel=1e-12)


@BOTH
def test_the_logarithm_rises_without_a_step_at_the_seam(values: Values) -> None:
    t = np.linspace(TAIL - 1e-3, TAIL + 1e-3, 2001)
    got, slopes = values(t)
    assert (np.diff(got) > 0).all()
    assert np.diff(got) == pytest.approx(1e-6 * (slopes[1:] + slopes[:-1]) / 2, rel=1e-7)
    assert (np.diff(values(np.linspace(-50, 10, 5000))[0]) > 0).all()


def improvements() -> tuple[F64, F64]:
    """Give means and deviations (m,), of every size."""
    rng = np.random.default_rng(2)
    return 3 * rng.standard_normal(200), 10 ** rng.uniform(-3, 1, 200)


def test_log_ei_agrees_with_the_closed_form() -> None:
    from tunesmith_core.acquisition import _climb_numba as kernels

    mean, deviation = improvements()
    exact = naive.scores(mean, deviation, -0.3)
    assert log_ei(mean, deviation, -0.3) == pytest.approx(exact, rel=1e-12, abs=1e-12)
    out = np.full(len(mean), np.nan)
    kernels.scores(mean, deviation, -0.3, 0.0, out)
    assert out == pytest.approx(exact, rel=1e-12, abs=1e-12)


def test_log_ei_with_slopes_agrees_with_differences() -> None:
    mean, deviation = improvements()
    deviation = np.maximum(deviation, 0.05)
    value, by_mean, by_deviation = log_ei_with_slopes(mean, deviation, -0.3)
    assert (value == log_ei(mean, deviation, -0.3)).all()
    step = 1e-6 * deviation
    for slopes, up, down in (
        (by_mean, (mean + step, deviation), (mean - step, deviation)),
        (by_deviation, (mean, deviation + step), (mean, deviation - step)),
    ):
        difference = (log_ei(*up, -0.3) - log_ei(*down, -0.3)) / (2 * step)
        assert slopes == pytest.approx(difference, rel=1e-6, abs=1e-6)


def test_a_lower_mean_and_a_larger_deviation_promise_more() -> None:
    mean, deviation = improvements()
    _, by_mean, by_deviation = log_ei_with_slopes(mean, deviation, -0.3)
    assert (by_mean < 0).all()
    # Where improvement is all but certain the deviation says nothing, to within rounding.
    unsure = mean > -0.3 - 5 * deviation
    assert (by_deviation[unsure] > 0).all()
    assert (by_deviation[~unsure] * deviation[~unsure] >= -1e-14).all()


@pytest.mark.parametrize("noise", [1e-12, 1e-3, 7.0])
def test_what_is_news_agrees_with_exact_arithmetic(noise: float) -> None:
    from tunesmith_core.acquisition import _climb_numba as kernels

    spread = 10.0 ** np.linspace(-14, 6, 41)
    exact = np.array([[float(part) for part in naive.log_news(s, noise)] for s in spread])
    for got in (
        np.stack(log_news(spread, noise), axis=1),
        np.array([kernels.log_news(s, noise) for s in spread]),
    ):
        assert got == pytest.approx(exact, rel=1e-13, abs=1e-15)


def test_without_noise_all_is_news() -> None:
    from tunesmith_core.acquisition import _climb_numba as kernels

    value, slope = log_news(np.array([1e-3, 1.0]), 0.0)
    assert not value.any()
    assert not slope.any()
    assert kernels.log_news(1e-3, 0.0) == (0.0, 0.0)
