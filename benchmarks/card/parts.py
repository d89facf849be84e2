"""The parts of a likelihood and of an ask, each with the least time that it can take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.card.card import Card, Speed, Watch
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.likelihood import Likelihood
from tunesmith_core.gp.parameters import Layout
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.gpu import blocked
from tunesmith_core.space.scaling import F64

CANDIDATES = 512
CLIMBERS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Hold what was measured of one part.

    Attributes:
        name: What it does.
        took_s: Median.
        floor_s: The least time, by the card's speed in this run.
    """

    name: str
    took_s: float
    floor_s: float


def observations(n: int, d: int) -> tuple[F64, F64]:
    """Give points (n, d) and values (n,) of a function with some noise."""
    rng = np.random.default_rng(n)
    x = rng.random((n, d))
    y = np.sin(3 * x[:, : min(d, 6)]).sum(axis=1) + 0.1 * rng.standard_normal((n,))
    return x, (y - y.mean()) / y.std()


def layout_of(d: int) -> Layout:
    """Give a layout of d numeric coordinates, all warped."""
    return Layout(
        categorical=np.zeros(d, dtype=np.bool_),
        warped=np.arange(d),
        unscaled=np.zeros(d, dtype=np.bool_),
    )


def likelihood_of(backend: Backend, n: int, d: int) -> tuple[Likelihood, F64]:
    """Give a likelihood, and hyperparameters to compute it at."""
    layout = layout_of(d)
    prior = prior_of(layout, PriorSettings())
    x, y = observations(n, d)
    return Likelihood(backend, layout, prior, x, y), prior.mean


def likelihood_floor_s(speed: Speed, n: int, d: int) -> float:
    """Give the least time of a likelihood with its gradient: n³ flops, and three passes over pairs."""
    return speed.floor_s(product=n**3) + sum(
        speed.floor_s(plain=plain, moved=moved) for plain, moved in _passes(n, d)
    )


def _passes(n: int, d: int) -> list[tuple[float, float]]:
    """Give flops and bytes of covariance, weights and sums."""
    pairs = float(n) * n
    return [
        (pairs * (3 * d + 52), 8 * pairs),
        (pairs * (3 * d + 51), 16 * pairs),
        (pairs * 4 * d, 8 * pairs),
    ]


def parts(card: Card, speed: Speed, watch: Watch, n: int, d: int) -> Iterator[Part]:
    """Measure each part at n observations in d dimensions."""
    backend, xp = card.backend, card.backend.xp
    rng = np.random.default_rng(1)
    u, z, few = (xp.asarray(rng.random((d, m))) for m in (n, CANDIDATES, CLIMBERS))
    mismatch, alpha = np.zeros(d), xp.asarray(rng.standard_normal((n,)))
    covariance, _ = backend.covariance(u, mismatch, 1e-2)
    work = xp.empty((n, n))
    first, second, third = _passes(n, d)

    def timed(
        name: str,
        call: Callable[[], object],
        floor_s: float,
        *,
        restored: bool = False,
    ) -> Part:
        def whole() -> None:
            if restored:
                work[...] = covariance
            call()

        took = watch.median_s(f"part: {name}", whole)
        if restored:  # what is overwritten is copied anew each time
            took -= 16.0 * n * n / speed.memory
        return Part(name=name, took_s=took, floor_s=floor_s)

    def floor(part: tuple[float, float]) -> float:
        return speed.floor_s(plain=part[0], moved=part[1])

    yield timed("covariance", lambda: backend.correlations(u, u, mismatch), floor(first))
    yield timed(
        "Cholesky factor",
        lambda: card.device.cholesky(work),
        speed.floor_s(product=n**3 / 3),
        restored=True,
    )
    covariance = work.copy()
    yield timed(
        "inverse factor",
        lambda: blocked.invert_lower(card.device, work),
        speed.floor_s(product=n**3 / 3),
        restored=True,
    )
    covariance = inverse = work.copy()
    yield timed(
        "inverse",
        lambda: blocked.gram_of_inverse(card.device, work),
        speed.floor_s(product=n**3 / 3),
        restored=True,
    )
    yield timed(
        "weights and sums over pairs",
        lambda: backend.pair_sums(u, mismatch, work, None, alpha=alpha, scale=0.0),
        floor(second) + floor(third),
    )
    k = backend.correlations(u, z, mismatch)
    yield timed(
        f"deviations of {CANDIDATES} candidates",
        lambda: backend.triangular_product(inverse, k),
        speed.floor_s(product=float(n) * n * CANDIDATES),
    )
    near = backend.correlations(u, few, mismatch)
    yield timed(
        f"deviations of {CLIMBERS} candidates",
        lambda: backend.triangular_product(inverse, near),
        speed.floor_s(moved=4.0 * n * n),
    )
    back = backend.product(inverse.T, near)
    yield timed(
        f"gradients of {CLIMBERS} candidates",
        lambda: backend.candidate_sums(u, few, mismatch, alpha=alpha, back=back),
        speed.floor_s(plain=float(n) * CLIMBERS * (7 * d + 49)),
    )
    last = inverse[n - 1 : n].reshape(-1).copy()
    yield timed(
        "one more point",
        lambda: (backend.product(inverse, last), backend.product(last, inverse)),
        speed.floor_s(moved=16.0 * n * n),
    )
