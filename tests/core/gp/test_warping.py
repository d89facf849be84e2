"""The warping against mpmath, and its derivatives against differences."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core import naive
from tests.core.gp.problems import EPS
from tunesmith_core.gp.warping import EDGE, warp, warping
from tunesmith_core.space.scaling import F64

EXPONENT = st.floats(-1.5, 1.5).map(np.exp)  # all that the prior's bounds allow
UNIT = st.floats(0, 1)
EXPONENTS = np.exp(np.array([-1.5, -0.7, 0.0, 0.3, 1.5]))


def parts(x: F64, a: F64, b: F64) -> list[F64]:
    """Warp coordinates: w, and the derivatives by x, ln a and ln b."""
    begun = warping(x, a, b)
    return [begun.w(), begun.by_x(), begun.by_log_a(), begun.by_log_b()]


def warped(x: float, a: float, b: float) -> list[float]:
    """Warp one coordinate: w, and the derivatives by x, ln a and ln b."""
    column = parts(np.array([[x]]), np.array([a]), np.array([b]))
    return [float(entry[0, 0]) for entry in column]


def grid() -> tuple[F64, F64, F64]:
    """Give coordinates (m, 25) with every pair of exponents (25,)."""
    a, b = (each.ravel() for each in np.meshgrid(EXPONENTS, EXPONENTS))
    x = np.concatenate([[0.0, 1e-12, EDGE], np.linspace(0.001, 0.999, 40), [1 - 1e-12, 1.0]])
    return np.repeat(x[:, None], 25, axis=1), a, b


def test_the_edge_is_the_one_of_the_oracles() -> None:
    assert naive.EDGE == EDGE


def test_both_ways_to_warp_agree() -> None:
    x, a, b = grid()
    assert warp(x, a, b) == pytest.approx(warping(x, a, b).w(), abs=1e-10)


@settings(deadline=None)
@given(UNIT, EXPONENT, EXPONENT)
def test_the_warping_agrees_with_exact_arithmetic(x: float, a: float, b: float) -> None:
    exact = float(naive.kumaraswamy(x, a, b))
    inner = min(max(x, EDGE), 1 - EDGE)
    slack = 8 * EPS * (1 + b * abs(math.log(-math.expm1(a * math.log(inner)))))
    assert abs(warped(x, a, b)[0] - exact) <= slack
    (got,) = warp(np.array([[x]]), np.array([a]), np.array([b]))[0]
    assert abs(got - exact) <= slack


def test_exponents_of_one_leave_a_coordinate_where_it_is() -> None:
    x = np.linspace(EDGE, 1 - EDGE, 101)[:, None]
    got = warping(x, np.ones(1), np.ones(1))
    assert got.w() == pytest.approx(x, abs=2e-16)
    assert got.by_x() == pytest.approx(np.ones_like(x), rel=1e-13)


def test_the_warping_rises_from_0_to_1() -> None:
    x, a, b = grid()
    w = warp(x, a, b)
    assert (np.diff(w, axis=0) >= 0).all()
    assert (np.diff(w[2:-2], axis=0) > 0).all()
    assert (w[0] >= 0).all()
    assert (w[-1] <= 1).all()
    # A flat warping is still some way from its end at the edge.
    assert (w[0] < 0.12).all()
    assert (w[-1] > 0.88).all()


def test_everything_is_finite_at_the_edges() -> None:
    x, a, b = grid()
    for part in parts(x, a, b):
        assert np.isfinite(part).all()


@settings(deadline=None, max_examples=50)
@given(st.floats(0.001, 0.999), EXPONENT, EXPONENT)
def test_slopes_are_the_derivatives_of_exact_arithmetic(x: float, a: float, b: float) -> None:
    got = warped(x, a, b)[1:]
    with mpmath.workdps(naive.DIGITS):
        step = mpmath.mpf(10) ** -20

        def difference(up: mpmath.mpf, down: mpmath.mpf) -> float:
            return float((up - down) / (2 * step))

        w, grow, shrink = naive.kumaraswamy, mpmath.exp(step), mpmath.exp(-step)
        exact = [
            difference(w(x + step, a, b), w(x - step, a, b)),
            difference(w(x, a * grow, b), w(x, a * shrink, b)),
            difference(w(x, a, b * grow), w(x, a, b * shrink)),
        ]
    assert got == pytest.approx(exact, rel=1e-10, abs=1e-14)
