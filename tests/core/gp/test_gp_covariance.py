"""The covariance and the sums over pairs, by each backend, against pair by pair in mpmath."""

import importlib
from types import ModuleType

import array_api_strict
import mpmath
import numpy as np
import pytest

from tests.core import naive
from tests.core.gp.problems import EPS, SHAPES, problem
from tunesmith_core.gp import covariance
from tunesmith_core.gp.backends import Backend, PairSums
from tunesmith_core.gp.covariance import CONSTANT
from tunesmith_core.gp.formula_backend import FormulaBackend
from tunesmith_core.gp.likelihood import host, mismatches, scaled
from tunesmith_core.gp.warping import warp
from tunesmith_core.space.scaling import F64

pytestmark = pytest.mark.usefixtures("warm")

DISTANCES = np.concatenate([[0.0], 10.0 ** np.random.default_rng(1).uniform(-30, 4.99, 2000)])


def scaled_problem(shape: tuple[int, int, int], seed: int) -> tuple[F64, F64]:
    """Give scaled points (d, n) and mismatches (d,)."""
    given = problem(shape, seed=seed)
    values = given.values
    u = scaled(given.layout, given.x, warp(given.x, values.a, values.b), values)
    return u, mismatches(given.layout, values)


def worst_in_ulps_of(a: F64, got: F64, exact: list[mpmath.mpf]) -> float:
    """The largest relative error, in (1 + a) eps."""
    errors = [
        float(abs((mine - right) / right)) for mine, right in zip(got.tolist(), exact, strict=True)
    ]
    return float((np.array(errors) / ((1 + a) * EPS)).max())


def test_the_constant_is_the_one_of_the_oracles() -> None:
    assert naive.CONSTANT == CONSTANT


def test_the_exponential_is_right_to_an_ulp_from_minus_708_to_0() -> None:
    from tunesmith_core.gp._covariance_numba import exp_negative

    rng = np.random.default_rng(0)
    x = np.concatenate(
        [-708 * rng.random(3000), -(10 ** rng.uniform(-20, 2.85, 3000)), [0.0, -708.0, -5e-324]]
    )
    for each in x.tolist():
        exact = naive.exp(each)
        assert abs(exp_negative(each) - exact) <= EPS * exact
    assert exp_negative(0.0) == 1.0


def test_the_exponential_stays_positive_below_its_range() -> None:
    from tunesmith_core.gp._covariance_numba import exp_negative

    least = exp_negative(-708.0)
    assert 0 < least < 1e-307
    assert [exp_negative(x) for x in (-709.0, -1e5, -1e300, -np.inf)] == [least] * 4


def test_correlations_are_as_accurate_as_stated() -> None:
    from tunesmith_core.gp._covariance_numba import matern52, matern52_slope

    a = np.sqrt(5 * DISTANCES)
    assert a.max() <= 700
    exact = [naive.matern52(r2, 0.0) for r2 in DISTANCES.tolist()]
    down = [naive.matern52_slope(r2) for r2 in DISTANCES.tolist()]
    k, again, slope = DISTANCES[None].copy(), DISTANCES[None].copy(), np.empty((1, len(a)))
    matern52(k, 0.0)
    matern52_slope(again, 0.0, slope)
    assert (k == again).all()
    assert worst_in_ulps_of(a, k[0], exact) <= 2
    assert worst_in_ulps_of(a, slope[0], down) <= 2
    assert worst_in_ulps_of(a, covariance.matern52(np, DISTANCES, 0.0), exact) <= 2
    assert worst_in_ulps_of(a, covariance.matern52_slope(np, DISTANCES), down) <= 2


def test_the_slope_is_that_of_the_correlation() -> None:
    for r2 in (1e-3, 0.1, 1.0, 7.0, 40.0):
        with mpmath.workdps(naive.DIGITS):
            step = mpmath.mpf(10) ** -20
            slope = (naive.matern52(r2 + step) - naive.matern52(r2 - step)) / (2 * step)
        assert float(slope) == pytest.approx(float(naive.matern52_slope(r2)), rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_squared_distances_agree_with_pair_by_pair(shape: tuple[int, int, int]) -> None:
    from tunesmith_core.gp._covariance_numba import squared_distances

    u, mismatch = scaled_problem(shape, seed=1)
    z = np.ascontiguousarray(u[:, ::2])
    out = np.full((u.shape[1], z.shape[1]), np.nan)
    squared_distances(u, z, mismatch, out)
    exact = naive.squared_distances(u, z, mismatch)
    assert out == pytest.approx(exact, rel=20 * EPS)
    assert covariance.squared_distances(np, u, z, mismatch) == pytest.approx(exact, rel=20 * EPS)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_backend_gives_the_correlations_of_the_formula(
    backend: Backend, shape: tuple[int, int, int]
) -> None:
    xp = backend.xp
    u, mismatch = scaled_problem(shape, seed=2)
    z = np.ascontiguousarray(u[:, ::3])
    exact = naive.correlations(u, z, mismatch)
    k = backend.correlations(xp.asarray(u), xp.asarray(z), mismatch)
    assert host(xp, k) == pytest.approx(exact, rel=1e-13)
    square, _ = backend.covariance(xp.asarray(u), mismatch, 0.25)
    expected = naive.correlations(u, u, mismatch) + 0.25 * np.eye(u.shape[1])
    assert host(xp, square) == pytest.approx(expected, rel=1e-13)


def pair_sums(backend: Backend, u: F64, mismatch: F64, precision: F64, alpha: F64) -> PairSums:
    """Let a backend sum up, with a scale of 1.5; on the CPU afterwards."""
    xp = backend.xp
    placed = xp.asarray(u)
    _, slope = backend.covariance(placed, mismatch, 0.1)
    sums = backend.pair_sums(
        placed, mismatch, xp.asarray(precision.copy()), slope, alpha=xp.asarray(alpha), scale=1.5
    )
    return PairSums(sums.trace, host(xp, sums.spread), host(xp, sums.moment))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_backend_sums_up_pairs_as_pair_by_pair(
    backend: Backend, shape: tuple[int, int, int]
) -> None:
    u, mismatch = scaled_problem(shape, seed=3)
    n = u.shape[1]
    rng = np.random.default_rng(n)
    half, alpha = rng.standard_normal((n, n)), rng.standard_normal((n,))
    precision = half + half.T
    sums = pair_sums(backend, u, mismatch, precision, alpha)
    w = 1.5 * np.outer(alpha, alpha) - precision
    assert sums.trace == pytest.approx(np.trace(w), rel=1e-12, abs=1e-12)
    slope = covariance.matern52_slope(np, naive.squared_distances(u, u, mismatch))
    q = w * slope
    exact_spread, exact_moment = naive.pull(u, mismatch, q)
    # Sums are reordered: what may be lost is in proportion to the sum of the absolute terms.
    size = (1.5 * np.abs(np.outer(alpha, alpha)) + np.abs(precision)) * np.abs(slope)
    size_spread, _ = naive.pull(u, mismatch, size)
    size_moment = np.abs(u[:, :, None] - u[:, None, :]) * size
    # The slope itself, of distances up to 100, is right to 20 (1 + a) eps.
    lost = (n + 200) * EPS
    assert (np.abs(sums.spread - exact_spread) <= lost * size_spread).all()
    assert (np.abs(sums.moment - exact_moment) <= lost * size_moment.sum(axis=2)).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_formulas_use_nothing_but_the_standard_of_array_modules(
    shape: tuple[int, int, int],
) -> None:
    u, mismatch = scaled_problem(shape, seed=7)
    z = np.ascontiguousarray(u[:, ::3]) + 0.1
    n, m = u.shape[1], z.shape[1]
    rng = np.random.default_rng(n)
    q, of_mean, of_variance = (rng.standard_normal(size) for size in ((n, n), (n, m), (n, m)))
    alpha = rng.standard_normal((n,))

    def results(xp: ModuleType) -> list[F64]:
        placed = {name: xp.asarray(each) for name, each in (("u", u), ("z", z), ("q", q))}
        r2 = covariance.squared_distances(xp, placed["u"], placed["z"], mismatch)
        given = [
            r2,
            covariance.matern52(xp, r2, CONSTANT),
            covariance.matern52_slope(xp, r2),
            covariance.weights(xp, placed["q"], xp.asarray(alpha), 1.5),
            *covariance.pull(xp, placed["u"], mismatch, placed["q"]),
            *covariance.candidate_sums(
                xp, placed["u"], placed["z"], xp.asarray(of_mean), xp.asarray(of_variance)
            ),
        ]
        return [np.asarray(each) for each in given]

    for strict, plain in zip(results(array_api_strict), results(np), strict=True):
        assert np.array_equal(strict, plain)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_compiled_sums_over_pairs_are_as_accurate_as_stated(
    shape: tuple[int, int, int],
) -> None:
    from tunesmith_core.gp.numba_backend import NumbaBackend

    u, mismatch = scaled_problem(shape, seed=3)
    n = u.shape[1]
    half = np.random.default_rng(n).standard_normal((n, n))
    q = half + half.T
    spread, moment = NumbaBackend().pull(u, mismatch, q)
    exact_spread, exact_moment = naive.pull(u, mismatch, q)
    size_spread, _ = naive.pull(u, mismatch, np.abs(q))
    size_moment = np.abs(u[:, :, None] - u[:, None, :]) * np.abs(q)
    assert (np.abs(spread - exact_spread) <= n * EPS * size_spread).all()
    assert (np.abs(moment - exact_moment) <= n * EPS * size_moment.sum(axis=2)).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_backend_sums_up_candidates_as_the_formula(
    backend: Backend, shape: tuple[int, int, int]
) -> None:
    xp = backend.xp
    u, mismatch = scaled_problem(shape, seed=5)
    z = np.ascontiguousarray(u[:, ::2] + 0.1)
    n, m = u.shape[1], z.shape[1]
    rng = np.random.default_rng(n)
    alpha, back = rng.standard_normal((n,)), rng.standard_normal((n, m))
    got = backend.candidate_sums(
        xp.asarray(u), xp.asarray(z), mismatch, alpha=xp.asarray(alpha), back=xp.asarray(back)
    )
    slope = covariance.matern52_slope(np, naive.squared_distances(u, z, mismatch))
    difference = z[:, None, :] - u[:, :, None]
    numeric = ~(mismatch > 0)
    for of, weights in zip(got, (alpha[:, None] * slope, back * slope), strict=True):
        exact = (weights * difference).sum(axis=1)
        size = (np.abs(weights) * (np.abs(z[:, None, :]) + np.abs(u[:, :, None]))).sum(axis=1)
        error = np.abs(host(xp, of) - exact)
        assert (error[numeric] <= (n + 200) * EPS * size[numeric]).all()


def test_a_categorical_coordinate_has_no_moment(backend: Backend) -> None:
    u, mismatch = scaled_problem((17, 3, 3), seed=4)
    sums = pair_sums(backend, u, mismatch, np.ones((17, 17)), np.ones(17))
    assert (sums.moment == 0).all()


def random_covariance(n: int, seed: int) -> F64:
    half = np.random.default_rng(seed).standard_normal((n, n))
    k: F64 = half @ half.T + 0.1 * np.eye(n)
    return k


@pytest.mark.parametrize("n", [1, 2, 7, 50, 130])
def test_every_backend_inverts_the_factor(backend: Backend, n: int) -> None:
    xp = backend.xp
    k = random_covariance(n, seed=n)
    factored = backend.inverse_factor(xp.asarray(k.copy()))
    assert factored is not None
    inverse, log_det = host(xp, factored[0]), factored[1]
    assert (inverse == np.tril(inverse)).all()
    assert inverse @ k @ inverse.T == pytest.approx(np.eye(n), abs=1e-10)
    assert log_det == pytest.approx(np.linalg.slogdet(k).logabsdet, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 50, 130])
def test_every_backend_inverts_the_covariance(backend: Backend, n: int) -> None:
    xp = backend.xp
    k = random_covariance(n, seed=n)
    inverted = backend.precision(xp.asarray(k.copy()))
    assert inverted is not None
    precision, log_det = host(xp, inverted[0]), inverted[1]
    assert precision @ k == pytest.approx(np.eye(n), abs=1e-9)
    assert precision == pytest.approx(precision.T, rel=1e-12)
    assert log_det == pytest.approx(np.linalg.slogdet(k).logabsdet, rel=1e-12, abs=1e-12)


def test_every_backend_refuses_what_is_not_positive_definite(backend: Backend) -> None:
    k = random_covariance(6, seed=0)
    k[3, 3] = -1.0
    assert backend.inverse_factor(backend.xp.asarray(k.copy())) is None
    assert backend.precision(backend.xp.asarray(k.copy())) is None


@pytest.mark.parametrize("entry", [np.nan, np.inf])
def test_the_formula_refuses_what_is_not_finite(entry: float) -> None:
    k = random_covariance(6, seed=0)
    k[3, 3] = entry
    assert FormulaBackend(np).inverse_factor(k) is None
    assert FormulaBackend(np).precision(k) is None


def test_every_backend_multiplies_a_triangular_matrix(backend: Backend) -> None:
    xp = backend.xp
    rng = np.random.default_rng(5)
    inverse, k = np.tril(rng.standard_normal((9, 9))), rng.standard_normal((9, 4))
    product = backend.triangular_product(xp.asarray(inverse), xp.asarray(k.copy()))
    assert host(xp, product) == pytest.approx(inverse @ k, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("shape", [(5, 1), (9, 4)])
def test_every_backend_multiplies_views(backend: Backend, shape: tuple[int, int]) -> None:
    xp = backend.xp
    rng = np.random.default_rng(6)
    n, m = shape
    whole, k = rng.standard_normal((12, 11)), rng.standard_normal((n, m))
    a, b = xp.asarray(whole), xp.asarray(k)
    assert host(xp, backend.product(a[:n, :n], b)) == pytest.approx(whole[:n, :n] @ k)
    assert host(xp, backend.product(a[:n, :n].T, b)) == pytest.approx(whole[:n, :n].T @ k)
    vector = xp.ascontiguousarray(b[:, 0])
    assert host(xp, backend.product(a[:n, :n], vector)) == pytest.approx(whole[:n, :n] @ k[:, 0])
    assert host(xp, backend.product(vector, a[:n, :n])) == pytest.approx(k[:, 0] @ whole[:n, :n])
    assert host(xp, backend.column_squares(b)) == pytest.approx((k * k).sum(axis=0))


@pytest.mark.usefixtures("gpu")
def test_the_formulas_run_on_a_gpu() -> None:
    cupy = importlib.import_module("cupy")
    u, mismatch = scaled_problem((60, 12, 4), seed=2)
    k = FormulaBackend(cupy).correlations(cupy.asarray(u), cupy.asarray(u), mismatch)
    assert isinstance(k, cupy.ndarray)
    assert cupy.asnumpy(k) == pytest.approx(naive.correlations(u, u, mismatch), rel=1e-13)
