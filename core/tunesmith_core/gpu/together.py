"""Compute the small models of many searches at once: each step is one launch for all of them.

Arrays have an axis of the models in front, and all models the same shape; whoever has fewer observations,
coordinates or candidates is padded, as `together.cu` has it. What is computed of a model is what `backend`
computes of it alone, to rounding: products are rounded by the shape of the whole batch.

Sources of the formulas: `gp.likelihood`, `gp.posterior`, `acquisition.log_ei`, `acquisition.climb`.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.gp.covariance import CONSTANT
from tunesmith_core.gp.likelihood import INFEASIBLE, VARIANCE_RATE, VARIANCE_SHAPE, host
from tunesmith_core.gp.lockstep import Value
from tunesmith_core.gp.parameters import Layout
from tunesmith_core.gp.priors import Prior
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.gpu.device import constants
from tunesmith_core.space.scaling import F64

COUNT, OBSERVED, NOISE, VARIANCE, BEST, SPREAD = range(6)
"""The head of a model's row: rows of the covariance; how many of them were observed; the noise in units of
the signal; the signal's variance, what is to be improved on, and the noise's variance."""

_LS, _A, _B, _MISMATCH, _MOVES = range(5)
_SUMS = constants()["SUMS"]


def most_observations() -> int:
    """Give how many observations a model may have, what is pending included."""
    return constants()["FEW"]


def most_dimensions() -> int:
    """Give how many coordinates it may have."""
    return constants()["NARROW"]


@functools.lru_cache(maxsize=1024)
def row_of(layout: Layout, d: int) -> "Row":
    """Give the row of a layout, made once: the same search asks again."""
    return Row(layout, d)


class Row:
    """Say where a model's hyperparameters are in its row of the table of all models.

    Args:
        layout: What each of its coordinates is.
        d: How many coordinates the largest model of the batch has.
    """

    def __init__(self, layout: Layout, d: int) -> None:
        self._d, own, warped = d, np.arange(layout.dimensions), layout.warped
        head = constants()["HEAD"]
        rows = [head + row * d for row in range(constants()["ROWS"])]
        self._places = np.concatenate(
            [rows[_LS] + own, rows[_A] + warped, rows[_B] + warped, [NOISE]]
        )
        categorical = np.flatnonzero(layout.categorical)
        self._scales, self._mismatches = rows[_LS] + categorical, rows[_MISMATCH] + categorical
        self._moves = rows[_MOVES] + own
        self._sums = np.concatenate([_SUMS + own, _SUMS + d + warped, _SUMS + 2 * d + warped])
        self._signs = np.ones(len(self._sums))
        self._signs[: len(own)] = -1.0
        self._blank = np.zeros(head + len(rows) * d)
        self._blank[rows[_LS] : rows[_MISMATCH]] = 1.0

    def filled(self, theta: F64) -> F64:
        """Give a row with hyperparameters, from the logarithms of them."""
        row = self._blank.copy()
        row[self._places] = np.exp(theta)
        row[self._mismatches] = row[self._scales] ** -2.0
        return row

    def move(self, row: F64, movable: NDArray[np.bool_]) -> None:
        """Say in a row which coordinates climb."""
        row[self._moves] = movable

    def gradient(self, sums: F64) -> F64:
        """Read the likelihood's gradient, but for the noise, off the sums over observations."""
        gradient: F64 = sums[self._sums] * self._signs
        return gradient


class Likelihoods:
    """Hold the observations of models whose hyperparameters are looked for, all at once.

    Args:
        backend: Whose device computes.
        layouts: What each model's coordinates are.
        priors: What is believed of its hyperparameters.
        points: Each one's points, (n, d).
        values: Each one's warped objective, (n,).
    """

    def __init__(
        self,
        backend: GpuBackend,
        layouts: Sequence[Layout],
        priors: Sequence[Prior],
        points: Sequence[F64],
        values: Sequence[F64],
    ) -> None:
        self._backend, self._priors = backend, priors
        d = max(layout.dimensions for layout in layouts)
        self._rows = [row_of(layout, d) for layout in layouts]
        self._counts = [len(each) for each in values]
        xp = backend.xp
        self._points, self._y = xp.asarray(padded(points)), xp.asarray(padded(values))
        self._which: Sequence[int] = range(len(layouts))
        self._chosen = (self._points, self._y)

    def negative_log_posteriors(self, which: Sequence[int], thetas: Sequence[F64]) -> list[Value]:
        """Compute what `Likelihood.negative_log_posterior` does, of these models at these vectors.

        Cost: about 4n³ + 4n²d flops and n² exponentials for each, n that of the largest.
        """
        models = np.stack(
            [self._rows[index].filled(theta) for index, theta in zip(which, thetas, strict=True)]
        )
        models[:, COUNT] = models[:, OBSERVED] = [self._counts[index] for index in which]
        sums, is_sound = self._sums(self._of(which), models)
        found: list[Value] = []
        for place, (index, theta) in enumerate(zip(which, thetas, strict=True)):
            if not is_sound[place]:
                found.append((INFEASIBLE, np.zeros(len(theta))))
                continue
            fit, squares, trace, log_det = sums[place, :_SUMS].tolist()
            rate = VARIANCE_RATE + 0.5 * fit
            shape = 0.5 * self._counts[index] + VARIANCE_SHAPE
            noise = 0.5 * float(models[place, NOISE]) * (shape / rate * squares - trace)
            slopes = np.append(self._rows[index].gradient(sums[place]), noise)
            prior, by_prior = self._priors[index].log_density(theta)
            # ln det K is that of the factor's inverse, twice, with the other sign.
            found.append((shape * np.log(rate) - log_det - prior, -(slopes + by_prior)))
        return found

    def _of(self, which: Sequence[int]) -> tuple[F64, F64]:
        """Give points and values of these models."""
        if list(which) != list(self._which):
            chosen = self._backend.xp.asarray(np.array(which))
            self._which, self._chosen = which, (self._points[chosen], self._y[chosen])
        return self._chosen

    def _sums(self, observed: tuple[F64, F64], models: F64) -> tuple[F64, NDArray[np.bool_]]:
        """Sum up over the observations of each model, and tell which covariances have a factor."""
        backend, (points, y) = self._backend, observed
        xp, device, of = backend.xp, backend.device, constants()
        count, n, d = points.shape
        table = xp.asarray(models)
        u, w, faults = _inverse_factors(backend, points, table)
        p = xp.empty((count, n, n))
        device.multiply(w.transpose(0, 2, 1), w, p)
        alpha, sums = xp.empty((count, n)), xp.empty((count, _SUMS + 3 * d))
        threads, across = of["COLUMNS"], _tiles(n, of["COLUMNS"])
        device.launch("sum_each", (1, count), _threads(n), p, w, y, table, alpha, sums, n, d)
        blocks = across * _tiles(n, of["STRIP"]), count
        device.launch(
            "weigh_each",
            blocks,
            threads,
            u,
            table,
            alpha,
            sums,
            p,
            n,
            d,
            VARIANCE_SHAPE,
            VARIANCE_RATE,
        )
        moments, spreads = xp.empty((count, d, n)), xp.empty((count, d, n))
        blocks = across * _tiles(d, of["GROUP"]), count
        device.launch("pull_each", blocks, threads, u, table, p, moments, spreads, n, d)
        device.launch(
            "chain_each", (d, count), of["LANES"], points, table, moments, spreads, sums, n, d
        )
        found = host(xp, sums)
        return found, (host(xp, faults) == 0) & np.isfinite(found[:, :_SUMS]).all(axis=1)


class Explained(NamedTuple):
    """Say how models explain what was observed.

    Attributes:
        is_sound: (s,) whether a model's covariance has a factor; nothing else of it is meant otherwise.
        alpha: (s, n) weights of the mean, 0 for what is pending.
        squares: (s,) sums of squares of the whitened values.
    """

    is_sound: NDArray[np.bool_]
    alpha: F64
    squares: F64


class Predictors:
    """Predict from what was observed, for all models at once, and search with it.

    Args:
        backend: Whose device computes.
        points: (s, n, d) each model's points, those that are pending after those observed.
        y: (s, n) their warped objective, 0 for those that are pending.
        models: (s, HEAD + ROWS d) the table of models.

    Nothing waits for the device before `explained` does.
    """

    def __init__(self, backend: GpuBackend, points: F64, y: F64, models: F64) -> None:
        self._backend = backend
        xp = backend.xp
        count, n, d = points.shape
        self._table = xp.asarray(models)
        self._u, self._w, self._faults = _inverse_factors(backend, xp.asarray(points), self._table)
        # Both are read column by column, by neighbours.
        self._turned = xp.ascontiguousarray(self._w.transpose(0, 2, 1))
        self._told = xp.empty((count, n + 1))
        backend.device.launch(
            "explain_each",
            (1, count),
            _threads(n),
            self._w,
            self._turned,
            xp.asarray(y),
            self._table,
            self._told,
            n,
            d,
        )

    def explained(self) -> Explained:
        """Wait for the device, and say what it has found."""
        xp = self._backend.xp
        told, faults = host(xp, self._told), host(xp, self._faults)
        is_sound = (faults == 0) & np.isfinite(told).all(axis=1)
        return Explained(is_sound, told[:, :-1], told[:, -1])

    def aim(self, models: F64) -> None:
        """Say what the acquisition is to improve on: the table of models, with the rest of its head."""
        self._table = self._backend.xp.asarray(models)

    def scores(self, z: F64) -> F64:
        """Compute ln AEI at each model's own points z (s, m, d): (s, m).

        Cost: 2n²m + 3nmd flops and nm exponentials for each model.
        """
        backend, of = self._backend, constants()
        xp, device = backend.xp, backend.device
        (count, m, d), n = z.shape, self._u.shape[2]
        placed = _placed(backend, xp.asarray(z), self._table)
        k, v = xp.empty((count, n, m)), xp.empty((count, n, m))
        _correlate(backend, self._u, placed, self._table, k, is_square=False)
        device.multiply(self._w, k, v)
        scores = xp.empty((count, m))
        blocks = _tiles(m, of["COLUMNS"]), count
        device.launch(
            "score_each", blocks, of["COLUMNS"], k, v, self._told, self._table, scores, n, m, d
        )
        return host(xp, scores)

    def climbed(self, starts: F64, *, rounds: int, tolerance: float) -> F64:
        """Climb from each model's own points (s, c, d) as `climb_in_step` does: (s, c, d).

        Cost: up to ``rounds`` times 2n² + 8nd flops and n exponentials for each point.
        """
        xp, device = self._backend.xp, self._backend.device
        (count, climbers, d), n = starts.shape, self._u.shape[2]
        points = xp.array(starts)
        device.launch(
            "climb_each",
            (climbers, count),
            _threads(n),
            points,
            self._u,
            self._w,
            self._turned,
            self._told,
            self._table,
            n,
            climbers,
            d,
            rounds,
            float(tolerance),
        )
        return host(xp, points)


def padded(arrays: Sequence[F64]) -> F64:
    """Stack arrays of one or two axes, each filled up with zeros at its ends."""
    shape = np.max([each.shape for each in arrays], axis=0)
    whole = np.zeros((len(arrays), *shape))
    for place, each in zip(whole, arrays, strict=True):
        place[tuple(map(slice, each.shape))] = each
    return whole


def _inverse_factors(backend: GpuBackend, points: F64, table: F64) -> tuple[F64, F64, F64]:
    """Give scaled points (s, d, n), inverse factors of the covariances (s, n, n), and 0 (s,) where there is one."""
    xp, device = backend.xp, backend.device
    count, n, _ = points.shape
    u = _placed(backend, points, table)
    k, w = xp.empty((count, n, n)), xp.empty((count, n, n))
    _correlate(backend, u, u, table, k, is_square=True)
    faults = device.factor_each(k)
    device.invert_each(k, w)
    return u, w, faults


def _placed(backend: GpuBackend, points: F64, table: F64) -> F64:
    """Warp and scale points (s, m, d): (s, d, m)."""
    count, m, d = points.shape
    out: F64 = backend.xp.empty((count, d, m))
    columns = constants()["COLUMNS"]
    blocks = _tiles(m * d, columns), count
    backend.device.launch("place_each", blocks, columns, points, table, out, m, d)
    return out


def _correlate(
    backend: GpuBackend, u: F64, z: F64, table: F64, out: F64, *, is_square: bool
) -> None:
    (count, d, n), m, of = u.shape, z.shape[2], constants()
    backend.device.launch(
        "correlations_each",
        (_tiles(m, of["COLUMNS"]) * _tiles(n, of["STRIP"]), count),
        of["COLUMNS"],
        u,
        z,
        table,
        out,
        n,
        m,
        d,
        CONSTANT,
        int(is_square),
    )


def _threads(n: int) -> int:
    """Give how many threads share what there is to do for each of n observations: whole warps, at most eight."""
    return 32 * min(max(_tiles(n, 32), 4), 8)


def _tiles(count: int, size: int) -> int:
    return -(-count // size)
