"""The prior against scipy's normal distributions."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from tests.core import naive
from tests.core.gp.problems import SHAPES, problem
from tunesmith_core.gp.parameters import Layout, pack, unpack
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.space.scaling import F64

SETTINGS = PriorSettings(
    ls_mean=0.3,
    ls_common=1.3,
    ls_deviation=0.6,
    categorical_ls_deviation=0.9,
    warp_deviation=0.4,
    noise_deviation=1.7,
)


def exact_log_density(theta: F64, mean: F64, layout: Layout) -> float:
    """The density of one normal distribution: length-scales of a sort have a share in common."""
    d, categorical = layout.dimensions, layout.categorical
    warp = np.where(layout.unscaled, SETTINGS.learned_warp_deviation, SETTINGS.warp_deviation)
    variance = np.concatenate(
        [
            np.where(categorical, SETTINGS.categorical_ls_deviation, SETTINGS.ls_deviation) ** 2,
            np.tile(warp**2, 2),
            [SETTINGS.noise_deviation**2],
        ]
    )
    covariance = np.diag(variance)
    covariance[:d, :d] += SETTINGS.ls_common**2 * (categorical[:, None] == categorical)
    return float(multivariate_normal(mean, covariance).logpdf(theta))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_density_is_that_of_a_normal_with_a_share_in_common(
    shape: tuple[int, int, int],
) -> None:
    given = problem(shape, seed=1)
    prior = prior_of(given.layout, SETTINGS)
    at_mean = exact_log_density(prior.mean, prior.mean, given.layout)
    assert prior.log_density(prior.mean)[0] == 0
    for seed in range(3):
        theta = prior.mean + np.random.default_rng(seed).standard_normal(len(prior.mean))
        value, gradient = prior.log_density(theta)
        exact = exact_log_density(theta, prior.mean, given.layout) - at_mean
        assert value == pytest.approx(exact, rel=1e-10)
        difference = naive.central_difference(lambda t: prior.log_density(t)[0], theta, 1e-4)
        assert gradient == pytest.approx(difference, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bounds_hold_the_mean(shape: tuple[int, int, int]) -> None:
    prior = prior_of(problem(shape, seed=1).layout, PriorSettings())
    assert (prior.lower < prior.mean).all()
    assert (prior.mean < prior.upper).all()


@pytest.mark.parametrize("d", [1, 4, 30])
def test_the_warping_is_the_identity_at_the_mean_and_length_scales_grow_with_the_root_of_d(
    d: int,
) -> None:
    layout = problem((1, d, 0), seed=1).layout
    settings = PriorSettings()
    values = unpack(layout, prior_of(layout, settings).mean)
    assert values.a.tolist() == values.b.tolist() == [1.0] * d
    assert values.ls == pytest.approx(np.full(d, np.exp(settings.ls_mean) * np.sqrt(d)))
    assert values.noise == pytest.approx(np.exp(settings.noise_mean))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_hyperparameters_survive_the_round_trip(shape: tuple[int, int, int]) -> None:
    given = problem(shape, seed=2)
    assert len(given.theta) == given.layout.size
    assert pack(given.layout, given.values) == pytest.approx(given.theta, abs=1e-14)
    still = np.setdiff1d(np.arange(given.layout.dimensions), given.layout.warped)
    assert (given.values.a[still] == 1).all()
    assert (given.values.b[still] == 1).all()
