"""The likelihood against dense linear algebra, and its gradient against differences."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_t

from tests.core import naive
from tests.core.gp.problems import SHAPES, Problem, problem
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.fit import fit
from tunesmith_core.gp.formula_backend import FormulaBackend
from tunesmith_core.gp.likelihood import (
    INFEASIBLE,
    VARIANCE_RATE,
    VARIANCE_SHAPE,
    Likelihood,
    mismatches,
    scaled,
)
from tunesmith_core.gp.parameters import unpack
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.gp.warping import Warping, warp
from tunesmith_core.space.scaling import F64

pytestmark = pytest.mark.usefixtures("warm")


def likelihood_of(given: Problem, backend: Backend) -> Likelihood:
    prior = prior_of(given.layout, PriorSettings())
    return Likelihood(backend, given.layout, prior, given.x, given.y)


def exact(given: Problem, theta: F64) -> float:
    """-ln p(y | theta) p(theta) by scipy's Student t: its constants included, the prior's not."""
    values = unpack(given.layout, theta)
    u = scaled(given.layout, given.x, warp(given.x, values.a, values.b), values)
    k = naive.correlations(u, u, mismatches(given.layout, values))
    c = k + values.noise * np.eye(len(given.y))
    degrees = 2 * VARIANCE_SHAPE
    student = multivariate_t(shape=VARIANCE_RATE / VARIANCE_SHAPE * c, df=degrees)
    prior, _ = prior_of(given.layout, PriorSettings()).log_density(theta)
    return -float(student.logpdf(given.y)) - prior


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_value_is_that_of_a_dense_student_t_up_to_a_constant(
    backend: Backend, shape: tuple[int, int, int]
) -> None:
    given = problem(shape, seed=1)
    likelihood = likelihood_of(given, backend)
    rng = np.random.default_rng(3)
    offsets = []
    for _ in range(3):
        theta = given.theta + 0.3 * rng.standard_normal(len(given.theta))
        offsets.append(likelihood.negative_log_posterior(theta)[0] - exact(given, theta))
    assert offsets == pytest.approx(offsets[:1] * 3, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_is_that_of_differences(
    backend: Backend, shape: tuple[int, int, int], seed: int
) -> None:
    given = problem(shape, seed=seed, noise=10.0 ** -(1 + seed))
    likelihood = likelihood_of(given, backend)
    _, gradient = likelihood.negative_log_posterior(given.theta)
    difference = naive.central_difference(
        lambda theta: likelihood.negative_log_posterior(theta)[0], given.theta, 1e-5
    )
    assert gradient == pytest.approx(difference, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_backends_agree(backend: Backend, shape: tuple[int, int, int]) -> None:
    given = problem(shape, seed=5)
    value, gradient = likelihood_of(given, backend).negative_log_posterior(given.theta)
    formula = likelihood_of(given, FormulaBackend(np))
    expected, expected_gradient = formula.negative_log_posterior(given.theta)
    assert value == pytest.approx(expected, rel=1e-10, abs=1e-10)
    assert gradient == pytest.approx(expected_gradient, rel=1e-8, abs=1e-8)


def test_coordinates_that_do_not_vary_change_nothing(backend: Backend) -> None:
    given = problem((24, 12, 5), seed=6)
    given.x[:] = given.x[0]
    value, gradient = likelihood_of(given, backend).negative_log_posterior(given.theta)
    prior, prior_gradient = prior_of(given.layout, PriorSettings()).log_density(given.theta)
    assert np.isfinite(value)
    assert np.isfinite(prior)
    assert gradient[:-1] == pytest.approx(-prior_gradient[:-1], abs=1e-9)


def test_a_covariance_that_cannot_be_factored_is_infeasible_and_no_error(
    backend: Backend,
) -> None:
    given = problem((8, 4, 2), seed=7)
    given.x[:] = given.x[0]
    theta = given.theta.copy()
    theta[-1] = -80.0  # far below the prior's bound
    value, gradient = likelihood_of(given, backend).negative_log_posterior(theta)
    assert value == INFEASIBLE
    assert (gradient == 0).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_fit_climbs_and_stays_within_the_bounds(
    backend: Backend, shape: tuple[int, int, int]
) -> None:
    given = problem(shape, seed=8)
    likelihood = likelihood_of(given, backend)
    found = fit(likelihood, [given.theta, likelihood.prior.mean], max_evaluations=40)
    assert (found >= likelihood.prior.lower).all()
    assert (found <= likelihood.prior.upper).all()
    reached, _ = likelihood.negative_log_posterior(found)
    for start in (given.theta, likelihood.prior.mean):
        assert reached <= likelihood.negative_log_posterior(start)[0]


def test_every_backend_fits_to_the_same_height(backend: Backend) -> None:
    given = problem((40, 6, 0), seed=9)
    heights = []
    for each in (backend, FormulaBackend(np)):
        likelihood = likelihood_of(given, each)
        found = fit(likelihood, [given.theta], max_evaluations=200)
        heights.append(likelihood.negative_log_posterior(found)[0])
    assert heights[0] == pytest.approx(heights[1], abs=1e-2)


def test_a_fit_finds_the_coordinate_that_matters(backend: Backend) -> None:
    given = problem((40, 3, 0), seed=10)
    given.y[:] = np.sin(9 * given.x[:, 1])
    likelihood = likelihood_of(given, backend)
    found = unpack(given.layout, fit(likelihood, [likelihood.prior.mean], max_evaluations=100))
    assert found.ls[1] < 0.3 * min(found.ls[0], found.ls[2])


class Recorded(FormulaBackend):
    """Notes when it was asked to invert; a GPU is not done then."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__(np)
        self._calls = calls

    def precision(self, k: F64) -> tuple[F64, float] | None:
        self._calls.append("precision")
        return super().precision(k)


def test_slopes_of_the_warping_are_computed_while_a_device_inverts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    for name in ("by_x", "by_log_a", "by_log_b"):
        computed = getattr(Warping, name)

        def noted(warping: Warping, name: str = name, computed: Any = computed) -> F64:
            calls.append(name)
            slopes: F64 = computed(warping)
            return slopes

        monkeypatch.setattr(Warping, name, noted)
    given = problem((8, 4, 2), seed=8)
    likelihood_of(given, Recorded(calls)).negative_log_posterior(given.theta)
    assert calls == ["precision", "by_log_a", "by_log_b"]
