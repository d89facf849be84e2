"""Predictions against dense linear algebra, scikit-learn and differences."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from tests.core import naive
from tests.core.gp.problems import SHAPES, Problem, points, problem
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.covariance import CONSTANT
from tunesmith_core.gp.formula_backend import FormulaBackend
from tunesmith_core.gp.likelihood import VARIANCE_RATE, VARIANCE_SHAPE, mismatches, scaled
from tunesmith_core.gp.parameters import Layout, unpack
from tunesmith_core.gp.posterior import PRIOR_VARIANCE, Posterior, Predictor
from tunesmith_core.gp.warping import warp
from tunesmith_core.space.scaling import F64

pytestmark = pytest.mark.usefixtures("warm")


def posterior_of(given: Problem, backend: Backend, *, capacity: int = 0) -> Posterior:
    return Posterior(backend, given.layout, given.values, given.x, capacity=capacity)


def some_points(layout: Layout, m: int = 11) -> F64:
    return points(np.random.default_rng(99), layout, m)


def exact(given: Problem, x: F64) -> tuple[F64, F64]:
    """Means and standard deviations (m,) by Rasmussen & Williams, eq. 2.25 and 2.26."""
    values = given.values
    mismatch = mismatches(given.layout, values)
    u, z = (
        scaled(given.layout, each, warp(each, values.a, values.b), values) for each in (given.x, x)
    )
    c = naive.correlations(u, u, mismatch) + values.noise * np.eye(len(given.y))
    k = naive.correlations(u, z, mismatch)
    mean = k.T @ np.linalg.solve(c, given.y)
    spread = 1 + CONSTANT - np.einsum("im,im->m", k, np.linalg.solve(c, k))
    rate = VARIANCE_RATE + 0.5 * given.y @ np.linalg.solve(c, given.y)
    variance = rate / (VARIANCE_SHAPE + 0.5 * len(given.y))
    return mean, np.sqrt(variance * spread)


def assert_alike(one: Predictor, other: Predictor, x: F64, *, rel: float) -> None:
    for got, expected in zip(one.predict(x), other.predict(x), strict=True):
        assert got == pytest.approx(expected, rel=rel, abs=rel)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_predictions_are_those_of_a_dense_solution(
    backend: Backend, shape: tuple[int, int, int]
) -> None:
    given = problem(shape, seed=1)
    x = some_points(given.layout)
    predictor = posterior_of(given, backend).condition(given.y)
    mean, deviation = predictor.predict(x)
    exact_mean, exact_deviation = exact(given, x)
    assert mean == pytest.approx(exact_mean, rel=1e-8, abs=1e-9)
    assert deviation == pytest.approx(exact_deviation, rel=1e-8)
    assert predictor.mean(x) == pytest.approx(exact_mean, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (12, 2), (50, 6)])
def test_predictions_are_those_of_scikit_learn(backend: Backend, n: int, d: int) -> None:
    given = problem((n, d, 0), seed=2, noise=1e-2)
    values = given.values
    kernel = Matern(length_scale=values.ls, nu=2.5) + ConstantKernel(CONSTANT)
    reference = GaussianProcessRegressor(kernel, alpha=values.noise, optimizer=None)
    reference.fit(warp(given.x, values.a, values.b), given.y)
    x = some_points(given.layout)
    mean, deviation = reference.predict(warp(x, values.a, values.b), return_std=True)
    predictor = posterior_of(given, backend).condition(given.y, variance=2.5)
    got_mean, got_deviation = predictor.predict(x)
    assert got_mean == pytest.approx(mean, rel=1e-8, abs=1e-9)
    assert got_deviation == pytest.approx(np.sqrt(2.5) * deviation, rel=1e-8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_backends_predict_alike(backend: Backend, shape: tuple[int, int, int]) -> None:
    given = problem(shape, seed=3)
    x = some_points(given.layout)
    formula = posterior_of(given, FormulaBackend(np)).condition(given.y)
    predictor = posterior_of(given, backend).condition(given.y)
    assert_alike(predictor, formula, x, rel=1e-9)
    for got, expected in zip(
        predictor.predict_with_slopes(x), formula.predict_with_slopes(x), strict=True
    ):
        assert got == pytest.approx(expected, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("start", [0, 1, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_points_appended_one_by_one_predict_as_those_taken_in_at_once(
    backend: Backend, shape: tuple[int, int, int], start: int
) -> None:
    given = problem(shape, seed=4)
    begun = Posterior(backend, given.layout, given.values, given.x[:start], capacity=3)
    for point in given.x[start:]:
        begun.append(point)
    assert begun.n == len(given.x)
    whole = posterior_of(given, backend).condition(given.y)
    assert_alike(begun.condition(given.y), whole, some_points(given.layout), rel=1e-9)


def test_points_that_were_truncated_leave_no_trace(backend: Backend) -> None:
    given = problem((24, 12, 5), seed=5)
    tried = posterior_of(given, backend)
    for point in some_points(given.layout):
        tried.append(point)
    tried.truncate(15)
    for point in given.x[15:]:
        tried.append(point)
    whole = posterior_of(given, backend).condition(given.y)
    assert_alike(tried.condition(given.y), whole, some_points(given.layout), rel=1e-9)


def test_a_predictor_keeps_predicting_the_same_while_points_are_appended(
    backend: Backend,
) -> None:
    given = problem((17, 3, 3), seed=6)
    x = some_points(given.layout)
    posterior = posterior_of(given, backend, capacity=19)
    predictor = posterior.condition(given.y)
    before = predictor.predict(x)
    for point in x:
        posterior.append(point)
    for got, expected in zip(predictor.predict(x), before, strict=True):
        assert (got == expected).all()


def test_without_observations_the_prior_is_predicted(backend: Backend) -> None:
    given = problem((1, 3, 1), seed=7)
    empty = Posterior(backend, given.layout, given.values, given.x[:0], capacity=4)
    mean, deviation = empty.condition(given.y[:0]).predict(some_points(given.layout))
    assert (mean == 0).all()
    expected = np.sqrt(VARIANCE_RATE / VARIANCE_SHAPE * PRIOR_VARIANCE)
    assert deviation == pytest.approx(np.full(11, expected))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_slopes_are_those_of_differences(backend: Backend, shape: tuple[int, int, int]) -> None:
    given = problem(shape, seed=8, noise=1e-2)
    predictor = posterior_of(given, backend).condition(given.y)
    x = some_points(given.layout, 5)
    mean, deviation, by_mean, by_deviation = predictor.predict_with_slopes(x)
    plain_mean, plain_deviation = predictor.predict(x)
    assert mean == pytest.approx(plain_mean, rel=1e-12, abs=1e-12)
    assert deviation == pytest.approx(plain_deviation, rel=1e-10)
    free = ~given.layout.categorical
    for row, point in enumerate(x):
        for slopes, part in ((by_mean, 0), (by_deviation, 1)):
            difference = naive.central_difference(
                lambda z, part=part: float(predictor.predict(z[None])[part][0]),  # type: ignore[misc]
                point,
                1e-5,
            )
            assert slopes[row, free] == pytest.approx(difference[free], rel=1e-5, abs=1e-7)
            assert (slopes[row, ~free] == 0).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fitted_values_are_the_means_at_the_observations(
    backend: Backend, shape: tuple[int, int, int]
) -> None:
    given = problem(shape, seed=9)
    predictor = posterior_of(given, backend).condition(given.y)
    assert predictor.fitted(given.y) == pytest.approx(predictor.mean(given.x), abs=1e-9)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] <= 24], ids=str)
@pytest.mark.parametrize("variance", [None, 2.5])
def test_a_value_left_out_is_as_likely_as_it_is_to_those_who_never_saw_it(
    backend: Backend, shape: tuple[int, int, int], variance: float | None
) -> None:
    given = problem(shape, seed=12)
    predictor = posterior_of(given, backend).condition(given.y, variance=variance)
    likely = []
    for left_out in range(len(given.y)):
        others = np.arange(len(given.y)) != left_out
        posterior = Posterior(backend, given.layout, given.values, given.x[others], capacity=1)
        # All else is as before: what is left out is a value, and no opinion of the variance.
        blind = posterior.condition(given.y[others], variance=predictor.variance)
        mean, deviation = blind.predict(given.x[[left_out]])
        spread = np.sqrt(deviation[0] ** 2 + predictor.variance * given.values.noise)
        likely.append(norm.logpdf(given.y[left_out], mean[0], spread))
    assert predictor.left_out() == pytest.approx(np.array(likely), rel=1e-6, abs=1e-8)


def test_a_value_that_fits_its_neighbours_is_likelier_than_one_that_does_not(
    backend: Backend,
) -> None:
    given = problem((40, 6, 0), seed=13)
    given.y[:] = given.x.sum(axis=1) - 3
    fitting = posterior_of(given, backend).condition(given.y, variance=1.0).left_out()
    given.y[7] += 4
    odd = posterior_of(given, backend).condition(given.y, variance=1.0).left_out()
    assert odd[7] < fitting[7] - 10


@pytest.mark.parametrize("noise", [1e-7, 1e-18, 1e-30])
def test_repeated_points_with_next_to_no_noise_still_have_a_factor(
    backend: Backend, noise: float
) -> None:
    given = problem((40, 6, 0), seed=10, noise=noise)
    given.x[20:] = given.x[:20]
    given.y[20:] = given.y[:20]
    at_once = posterior_of(given, backend)
    one_by_one = Posterior(backend, given.layout, given.values, given.x[:0], capacity=1)
    for point in given.x:
        one_by_one.append(point)
    x = np.concatenate([given.x, some_points(given.layout)])
    for posterior in (at_once, one_by_one):
        mean, deviation = posterior.condition(given.y).predict(x)
        assert np.isfinite(mean).all()
        assert np.isfinite(deviation).all()
        assert (deviation > 0).all()
    mean, _ = at_once.condition(given.y).predict(given.x)
    assert mean == pytest.approx(given.y, abs=1e-2)


def test_far_from_everything_the_prior_variance_returns(backend: Backend) -> None:
    given = problem((8, 1, 0), seed=11)
    theta = given.theta.copy()
    theta[0] = np.log(1e-3)
    given.x[:, 0] = np.linspace(0.0, 0.1, 8)
    posterior = Posterior(backend, given.layout, unpack(given.layout, theta), given.x, capacity=8)
    _, deviation = posterior.condition(given.y, variance=1.0).predict(np.array([[0.9]]))
    # The mean is known by then, up to an eighth of the signal's variance.
    assert deviation[0] ** 2 == pytest.approx(1 + 1 / 9, rel=1e-2)
