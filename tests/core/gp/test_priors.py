"""The prior against scipy's normal distributions."""

import dataclasses

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
    task_ls_deviation=0.75,
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
    sort = np.where(np.arange(d) == layout.task, 2, categorical)
    covariance[:d, :d] += SETTINGS.ls_common**2 * (sort[:, None] == sort)
    if layout.task >= 0:
        covariance[layout.task, layout.task] = SETTINGS.task_ls_deviation**2
    return float(multivariate_normal(mean, covariance).logpdf(theta))


def with_task(layout: Layout) -> Layout:
    """Let the last categorical coordinate say which search a result is from."""
    return dataclasses.replace(
        layout, task=int(np.flatnonzero(layout.categorical)[-1]), task_ls=3.0
    )


@pytest.mark.parametrize("has_task", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_density_is_that_of_a_normal_with_a_share_in_common(
    shape: tuple[int, int, int], *, has_task: bool
) -> None:
    if has_task and not shape[2]:
        shape = (*shape[:2], 1)
    given = problem(shape, seed=1)
    layout = with_task(given.layout) if has_task else given.layout
    prior = prior_of(layout, SETTINGS)
    at_mean = exact_log_density(prior.mean, prior.mean, layout)
    assert prior.log_density(prior.mean)[0] == 0
    for seed in range(3):
        theta = prior.mean + np.random.default_rng(seed).standard_normal(len(prior.mean))
        value, gradient = prior.log_density(theta)
        exact = exact_log_density(theta, prior.mean, layout) - at_mean
        assert value == pytest.approx(exact, rel=1e-10)
        difference = naive.central_difference(lambda t: prior.log_density(t)[0], theta, 1e-4)
        assert gradient == pytest.approx(difference, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("shape", [(1, 3, 3), (24, 12, 5), (8, 4, 2), (2, 2, 1)], ids=str)
def test_the_task_has_a_length_scale_of_its_own_that_others_know_nothing_of(
    shape: tuple[int, int, int],
) -> None:
    layout = with_task(problem(shape, seed=1).layout)
    prior = prior_of(layout, SETTINGS)
    assert np.exp(prior.mean[layout.task]) == pytest.approx(3.0)
    others = np.delete(np.arange(layout.size), layout.task)
    there = prior.mean + np.random.default_rng(0).standard_normal(layout.size)
    moved = there.copy()
    moved[layout.task] += 1.3
    assert (prior.log_density(moved)[1][others] == prior.log_density(there)[1][others]).all()
    moved = there.copy()
    moved[others] -= 0.7
    task = layout.task
    assert prior.log_density(moved)[1][task] == prior.log_density(there)[1][task]


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
