"""Kernels for many models at once give each model what it gets alone."""

from dataclasses import dataclass

import numpy as np
import pytest

from tests.core.gp.problems import Problem, points, problem
from tests.core.gpu.host_device import HostDevice
from tunesmith_core.acquisition.climb import climb_in_step, log_aei_with_slopes
from tunesmith_core.gp.likelihood import INFEASIBLE, Likelihood
from tunesmith_core.gp.posterior import Posterior, Predictor
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.gpu.together import (
    BEST,
    COUNT,
    OBSERVED,
    SPREAD,
    VARIANCE,
    Likelihoods,
    Predictors,
    padded,
    row_of,
)
from tunesmith_core.space.scaling import F64

pytestmark = pytest.mark.usefixtures("warm", "compiler")

SHAPES = [(40, 3, 1), (33, 5, 2), (35, 1, 0), (38, 9, 3), (31, 2, 2)]
HELD = 3


def problems() -> list[Problem]:
    return [problem(shape, seed=seed) for seed, shape in enumerate(SHAPES)]


@dataclass(frozen=True)
class Models:
    """Hold models of all problems at once, and each alone."""

    together: Predictors
    alone: list[Predictor]
    best: list[float]
    movable: list[F64]


def models() -> Models:
    """Make predictors of which each has some pending points."""
    backend, given = GpuBackend(HostDevice()), problems()
    d = max(each.layout.dimensions for each in given)
    held = [points(np.random.default_rng(7), each.layout, HELD) for each in given]
    alone = []
    for each, more in zip(given, held, strict=True):
        n = len(each.x)
        posterior = Posterior(backend, each.layout, each.values, each.x, capacity=n + HELD)
        first = posterior.condition(each.y)
        y = np.concatenate([each.y, first.mean(more)])
        for point in more:
            posterior.append(point)
        alone.append(posterior.condition(y, variance=first.variance))
    table = np.stack([row_of(each.layout, d).filled(each.theta) for each in given])
    movable = [(~each.layout.categorical).astype(np.float64) for each in given]
    for row, each, moves in zip(table, given, movable, strict=True):
        row_of(each.layout, d).move(row, moves > 0.0)
    table[:, OBSERVED] = [len(each.x) for each in given]
    table[:, COUNT] = table[:, OBSERVED] + HELD
    xs = padded([np.concatenate([each.x, more]) for each, more in zip(given, held, strict=True)])
    y = padded([np.append(each.y, np.zeros(HELD)) for each in given])
    together = Predictors(backend, xs, y, table)
    best = [float(each.y.min()) for each in given]
    table[:, VARIANCE] = [each.variance for each in alone]
    table[:, SPREAD] = [each.variance * each.posterior.noise for each in alone]
    table[:, BEST] = best
    together.aim(table)
    return Models(together, alone, best, movable)


def test_likelihoods_and_gradients_are_those_of_each() -> None:
    backend, given = GpuBackend(HostDevice()), problems()
    priors = [prior_of(each.layout, PriorSettings()) for each in given]
    layouts = [each.layout for each in given]
    xs, ys = [each.x for each in given], [each.y for each in given]
    likelihoods = Likelihoods(backend, layouts, priors, xs, ys)
    for which in ([0, 1, 2, 3, 4], [1, 3], [4]):
        thetas = [given[index].theta for index in which]
        for index, (value, slopes) in zip(
            which, likelihoods.negative_log_posteriors(which, thetas), strict=True
        ):
            each = given[index]
            alone = Likelihood(backend, each.layout, priors[index], each.x, each.y)
            expected, gradient = alone.negative_log_posterior(each.theta)
            assert value == pytest.approx(expected, rel=1e-10, abs=1e-10)
            assert slopes == pytest.approx(gradient, rel=1e-8, abs=1e-8)


def test_what_has_no_factor_is_infeasible_and_the_others_are_not() -> None:
    given = problems()[:2]
    priors = [prior_of(each.layout, PriorSettings()) for each in given]
    layouts, thetas = [each.layout for each in given], [each.theta.copy() for each in given]
    xs, ys = [each.x for each in given], [each.y for each in given]
    thetas[0][-1] = np.nan
    likelihoods = Likelihoods(GpuBackend(HostDevice()), layouts, priors, xs, ys)
    (value, gradient), (other, _) = likelihoods.negative_log_posteriors([0, 1], thetas)
    assert value == INFEASIBLE
    assert not gradient.any()
    assert abs(other) < INFEASIBLE


def test_weights_of_the_mean_are_those_of_each_with_what_is_pending() -> None:
    made = models()
    explained = made.together.explained()
    assert explained.is_sound.all()
    for alone, alpha, squares, each in zip(
        made.alone, explained.alpha, explained.squares, problems(), strict=True
    ):
        n = len(each.x)
        expected = alone.host_arrays()[3]
        np.testing.assert_allclose(alpha[: n + HELD], expected, atol=1e-9 * np.abs(expected).max())
        assert not alpha[n:].any()
        assert (0.5 + 0.5 * squares) / (0.5 * n + 1.0) == pytest.approx(alone.variance, rel=1e-10)


def test_scores_are_those_of_each() -> None:
    made = models()
    rng = np.random.default_rng(3)
    z = [points(rng, each.layout, 5 + number) for number, each in enumerate(problems())]
    scores = made.together.scores(padded(z))
    for alone, best, own, got in zip(made.alone, made.best, z, scores, strict=True):
        noise = alone.variance * alone.posterior.noise
        expected, _ = log_aei_with_slopes(alone, own, best=best, noise=noise)
        np.testing.assert_allclose(got[: len(own)], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rounds", [0, 1, 4, 25])
def test_climbs_take_the_steps_of_each(rounds: int) -> None:
    made = models()
    rng = np.random.default_rng(4)
    starts = [points(rng, each.layout, 6) for each in problems()]
    got = made.together.climbed(padded(starts), rounds=rounds, tolerance=1e-4)
    moved = 0
    for alone, best, moves, own, found in zip(
        made.alone, made.best, made.movable, starts, got, strict=True
    ):
        noise = alone.variance * alone.posterior.noise

        def score(
            x: F64,
            alone: Predictor = alone,
            best: float = best,
            noise: float = noise,
            moves: F64 = moves,
        ) -> tuple[F64, F64]:
            value, gradient = log_aei_with_slopes(alone, x, best=best, noise=noise)
            return value, gradient * moves

        expected = climb_in_step(score, own, rounds=rounds, tolerance=1e-4)
        np.testing.assert_allclose(found[:, : own.shape[1]], expected, atol=1e-6)
        moved += int((np.abs(expected - own).max(axis=1) > 0.01).sum())
    assert (moved > 0) == (rounds > 0)
