"""The kernels that climb, against the predictions and formulas that they repeat."""

import numpy as np
import pytest

from tests.core import naive
from tests.core.gp.problems import SHAPES, Problem, points, problem
from tunesmith_core.acquisition import log_ei
from tunesmith_core.gp.likelihood import mismatches, scaled
from tunesmith_core.gp.numba_backend import NumbaBackend
from tunesmith_core.gp.posterior import Posterior, Predictor
from tunesmith_core.gp.warping import warp
from tunesmith_core.space.scaling import F64

pytestmark = pytest.mark.usefixtures("warm")

BEST = -1.0


def predictor_of(given: Problem) -> Predictor:
    posterior = Posterior(NumbaBackend(), given.layout, given.values, given.x, capacity=0)
    return posterior.condition(given.y)


def exponents(given: Problem) -> F64:
    values = given.values
    return np.stack([values.ls, values.a, values.b])


def score(
    given: Problem, predictor: Predictor, x: F64, *, movable: F64, noise: float = 0.0
) -> tuple[float, F64]:
    from tunesmith_core.acquisition import _climb_numba as kernels

    u, mismatch, inverse, alpha = predictor.host_arrays()
    gradient = np.full(len(x), np.nan)
    work = np.full((4, len(given.y)), np.nan)
    value = kernels.score(
        x,
        movable,
        exponents(given),
        u,
        mismatch,
        inverse,
        alpha,
        predictor.variance,
        BEST,
        noise,
        work,
        gradient,
    )
    return value, gradient


def climbed(given: Problem, predictor: Predictor, starts: F64, *, movable: F64) -> F64:
    from tunesmith_core.acquisition import _climb_numba as kernels

    x = starts.copy()
    kernels.climb(
        x,
        movable,
        exponents(given),
        *predictor.host_arrays(),
        predictor.variance,
        BEST,
        0.0,
        200,
        1e-10,
    )
    return x


def heights(predictor: Predictor, x: F64) -> F64:
    mean, deviation = predictor.predict(x)
    return log_ei.log_ei(mean, deviation, BEST)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_score_is_that_of_a_dense_solution(shape: tuple[int, int, int]) -> None:
    given = problem(shape, seed=1)
    predictor, values = predictor_of(given), given.values
    mismatch = mismatches(given.layout, values)
    u = scaled(given.layout, given.x, warp(given.x, values.a, values.b), values)
    covariance = naive.correlations(u, u, mismatch) + values.noise * np.eye(len(given.y))
    precision: F64 = np.linalg.inv(covariance).astype(np.float64)
    movable = (~given.layout.categorical).astype(np.float64)
    for x in points(np.random.default_rng(7), given.layout, 4):
        z = scaled(given.layout, x[None], warp(x[None], values.a, values.b), values)[:, 0]
        exact = naive.score(
            z,
            u,
            mismatch,
            precision=precision,
            y=given.y,
            variance=predictor.variance,
            best=BEST,
        )
        assert score(given, predictor, x, movable=movable)[0] == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_score_is_the_log_aei_of_the_prediction_and_so_is_its_gradient(
    shape: tuple[int, int, int], noise: float
) -> None:
    given = problem(shape, seed=2)
    predictor = predictor_of(given)
    movable = (~given.layout.categorical).astype(np.float64)
    x = points(np.random.default_rng(8), given.layout, 6)
    mean, deviation, mean_slopes, deviation_slopes = predictor.predict_with_slopes(x)
    value, by_mean, by_deviation = log_ei.log_ei_with_slopes(mean, deviation, BEST)
    news, by_spread = log_ei.log_news(deviation**2, noise)
    value, by_deviation = value + news, by_deviation + 2 * deviation * by_spread
    chained = by_mean[:, None] * mean_slopes + by_deviation[:, None] * deviation_slopes
    for row, point in enumerate(x):
        got, gradient = score(given, predictor, point, movable=movable, noise=noise)
        assert got == pytest.approx(value[row], rel=1e-9, abs=1e-9)
        assert gradient == pytest.approx(chained[row], rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_the_score_is_that_of_differences(shape: tuple[int, int, int]) -> None:
    given = problem(shape, seed=3, noise=1e-2)
    predictor = predictor_of(given)
    free = ~given.layout.categorical
    movable = free.astype(np.float64)
    for x in points(np.random.default_rng(9), given.layout, 4):
        _, gradient = score(given, predictor, x, movable=movable)
        difference = naive.central_difference(
            lambda z: score(given, predictor, z, movable=movable)[0], x, 1e-5
        )
        assert gradient[free] == pytest.approx(difference[free], rel=1e-5, abs=1e-6)
        assert (gradient[~free] == 0).all()


def test_what_may_not_move_has_no_gradient_and_stays() -> None:
    given = problem((40, 6, 0), seed=4)
    predictor = predictor_of(given)
    movable = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    starts = points(np.random.default_rng(10), given.layout, 5)
    _, gradient = score(given, predictor, starts[0], movable=movable)
    assert ((gradient != 0) == (movable == 1)).all()
    x = climbed(given, predictor, starts, movable=movable)
    assert (x[:, movable == 0] == starts[:, movable == 0]).all()
    assert (x[:, movable == 1] != starts[:, movable == 1]).any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_climb_never_ends_lower_and_stays_in_the_unit_cube(shape: tuple[int, int, int]) -> None:
    given = problem(shape, seed=5)
    predictor = predictor_of(given)
    movable = (~given.layout.categorical).astype(np.float64)
    rng = np.random.default_rng(11)
    starts = np.concatenate(
        [
            points(rng, given.layout, 8),
            given.x[:3],
            np.where(given.layout.categorical, 0.5, np.array([[0.0], [1.0]])),
        ]
    )
    x = climbed(given, predictor, starts, movable=movable)
    assert ((x >= 0) & (x <= 1)).all()
    gain = heights(predictor, x) - heights(predictor, starts)
    assert (gain >= -1e-9 * np.abs(heights(predictor, starts))).all()


def test_most_climbs_end_where_nothing_nearby_is_higher() -> None:
    rng = np.random.default_rng(12)
    left = []
    for seed in range(6):
        given = problem((24, 4, 0), seed=seed, noise=1e-2)
        predictor = predictor_of(given)
        starts = points(rng, given.layout, 5)
        for summit in climbed(given, predictor, starts, movable=np.ones(4)):
            around = np.clip(summit + 1e-3 * rng.standard_normal((300, 4)), 0, 1)
            left.append(heights(predictor, around).max() - heights(predictor, summit[None])[0])
    # Where the warping is steep at an edge, one may stop short of the top.
    assert np.median(left) <= 0
    assert np.mean(np.array(left) > 1e-5) < 0.15


@pytest.mark.parametrize("seed", range(6))
def test_the_highest_of_many_climbs_is_the_highest_there_is(seed: int) -> None:
    given = problem((5, 1, 0), seed=seed)
    predictor = predictor_of(given)
    starts = np.linspace(0, 1, 21)[:, None]
    x = climbed(given, predictor, starts, movable=np.ones(1))
    where, height = naive.summit(lambda z: heights(predictor, z), steps=20_001)
    best = heights(predictor, x).argmax()
    assert heights(predictor, x)[best] == pytest.approx(height, abs=1e-5)
    assert x[best, 0] == pytest.approx(where, abs=2e-3)


@pytest.mark.parametrize("seed", range(6))
def test_a_step_teaches_what_bfgs_says(seed: int) -> None:
    from tunesmith_core.acquisition import _climb_numba as kernels

    rng = np.random.default_rng(seed)
    d = 1 + seed
    root = rng.standard_normal((d, d))
    h = root @ root.T + np.eye(d)
    here, there, gradient, fresh = rng.standard_normal((4, d))
    if (there - here) @ (gradient - fresh) < 0 and seed % 2:
        gradient, fresh = fresh, gradient
    expected = naive.bfgs(h, here, there, gradient, fresh)
    kernels.learn(h, here, there, gradient, fresh, np.full(d, np.nan))
    np.testing.assert_allclose(h, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_the_way_up_stays_in_the_cube(seed: int) -> None:
    from tunesmith_core.acquisition import _climb_numba as kernels

    rng = np.random.default_rng(seed)
    d = 5
    root = rng.standard_normal((d, d))
    h = (root @ root.T) * (1 if seed % 2 else -1)
    here = np.array([0.0, 1.0, 0.5, 0.0, 1.0])
    gradient = rng.standard_normal(d)
    direction = np.full(d, np.nan)
    longest = kernels.direct(h, here, gradient, direction)
    np.testing.assert_allclose(direction, naive.uphill(h, here, gradient, timid=0.01), rtol=1e-12)
    assert longest == np.abs(direction).max()


def test_forgetting_leaves_the_gradient_alone() -> None:
    from tunesmith_core.acquisition import _climb_numba as kernels

    gradient = np.array([3.0, -4.0])
    h = np.full((2, 2), np.nan)
    kernels.forget(h, gradient, 0.1)
    np.testing.assert_allclose(h, naive.ignorance(gradient, 0.1))
    kernels.forget(h, np.zeros(2), 0.1)
    assert np.isfinite(h).all()
