"""Ask many optimisers at once: where a GPU has the small models of many searches, it takes all in one launch.

A suggestion is that of `Optimizer.ask`, to rounding: the same fits at the same lengths of the history, the
same streams, the same search. Rounding depends on who else is in the batch, so that the bits of a
suggestion are no function of its own history; whoever needs them asks alone.

Asked alone, one after the other, are optimisers

- whose next suggestion needs no model: at the start, spread out, or with nothing finite told;
- with experience, which have two models;
- whose model is on the CPU, or on a GPU that nobody else's is on, or has another kind of search;
- of more than 512 observations and pending configurations, or 32 coordinates, or with fewer observations
  allowed for than there are;
- whose covariance has no factor without more noise;
- and all, when the GPU fails within the batch: it is then for each of them to go on.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tunesmith_core.acquisition.maximise import SearchSettings
from tunesmith_core.acquisition.together import Ranked, Searches
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.gp.fit import fit
from tunesmith_core.gp.likelihood import VARIANCE_RATE, VARIANCE_SHAPE
from tunesmith_core.gp.lockstep import Function, in_lockstep
from tunesmith_core.gp.priors import Prior
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.gpu.cupy_device import is_from_cupy
from tunesmith_core.gpu.device import DeviceError
from tunesmith_core.gpu.together import (
    BEST,
    COUNT,
    OBSERVED,
    SPREAD,
    VARIANCE,
    Likelihoods,
    Predictors,
    most_dimensions,
    most_observations,
    padded,
    row_of,
)
from tunesmith_core.objective import warped_each
from tunesmith_core.optimizer import Optimizer, Question
from tunesmith_core.space.encoding import from_unit_each
from tunesmith_core.space.ranges import Configuration
from tunesmith_core.space.scaling import F64
from tunesmith_core.threads import on_one_thread

logger = logging.getLogger(__name__)

_FULLNESS = 0.75
"""Models in one batch have at least this share of the largest one's observations."""

_MOST_BYTES = 2**29
"""Of the arrays of one batch; more models are more batches."""

_Members: TypeAlias = list[tuple[int, Question]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Hold questions, and their places among all, that one GPU answers at once."""

    backend: GpuBackend
    members: _Members


def ask_together(
    optimizers: Sequence[Optimizer], *, growth: int | None = None
) -> list[Configuration | None]:
    """Suggest a new configuration of each optimiser, which is pending from then on.

    Args:
        optimizers: One that is named again is asked again, by itself.
        growth: As in `Optimizer.ask`.

    Returns:
        One of each, in their order; None where the space is exhausted.

    Raises:
        ValueError: ``growth`` is out of range.
    """
    together = suggest_together(optimizers, [growth] * len(optimizers))
    return [
        _alone(optimizer, growth) if configuration is None else configuration
        for optimizer, configuration in zip(optimizers, together, strict=True)
    ]


def suggest_together(
    optimizers: Sequence[Optimizer], growths: Sequence[int | None]
) -> list[Configuration | None]:
    """Suggest what can be suggested in batches; the others are to be asked alone.

    Args:
        optimizers: Who is named twice is asked once.
        growths: For each, as in `Optimizer.ask`.

    Returns:
        A configuration of each, which is pending from then on, or None for who is to be asked alone.

    Raises:
        ValueError: A ``growth`` is out of range.

    Cost: a few launches for each step of all searches of a batch; of the CPU some tenths of a
    millisecond for each optimiser.
    """
    suggested: list[Configuration | None] = [None] * len(optimizers)
    questions: _Members = []
    seen: set[int] = set()
    for index, (optimizer, growth) in enumerate(zip(optimizers, growths, strict=True)):
        if id(optimizer) not in seen:
            seen.add(id(optimizer))
            question = optimizer.question(growth)
            if question is not None:
                questions.append((index, question))
    for batch in _batches(questions):
        for index, configuration in _answered(batch):
            suggested[index] = configuration
    return suggested


def _alone(optimizer: Optimizer, growth: int | None) -> Configuration | None:
    try:
        (configuration,) = optimizer.ask(growth=growth)
    except SpaceExhausted:
        return None
    return configuration


def _gpu_of(question: Question) -> GpuBackend | None:
    """Give the GPU of a model that is small enough, and sees all that there is to see."""
    count, d, backend = question.count, question.x.shape[1], question.backend
    if not isinstance(backend, GpuBackend):
        return None
    fits = count <= min(most_observations(), question.most) and 0 < d <= most_dimensions()
    return backend if fits else None


def _batches(questions: _Members) -> list[_Batch]:
    """Divide questions by device and search, and by size, so that little is padded."""
    groups: dict[tuple[GpuBackend, SearchSettings], _Members] = {}
    for index, question in questions:
        backend = _gpu_of(question)
        if backend is not None:
            groups.setdefault((backend, question.search), []).append((index, question))
    batches: list[_Batch] = []
    for (backend, _), group in groups.items():
        rest = sorted(group, key=lambda each: (-each[1].count, each[0]))
        while rest:
            largest = rest[0][1]
            size = max(1, _MOST_BYTES // _bytes_of(largest))
            members = [each for each in rest if each[1].count >= _FULLNESS * largest.count][:size]
            rest = rest[len(members) :]
            if len(members) > 1:
                batches.append(_Batch(backend, members))
    return batches


def _bytes_of(question: Question) -> int:
    """Give about how much memory a model takes, as the largest of its batch."""
    n, search = question.count, question.search
    return 8 * n * (4 * n + 2 * (search.spread + search.near) + 4 * most_dimensions())


def _answered(batch: _Batch) -> list[tuple[int, Configuration]]:
    """Answer what can be answered of a batch; nothing if the GPU fails."""
    backend = batch.backend
    questions = [question for _, question in batch.members]
    try:
        with on_one_thread(), backend.active():
            _fit(backend, questions)
            ranked = _searched(backend, questions)
    except Exception as error:
        if not (isinstance(error, DeviceError) or is_from_cupy(error)):
            raise
        # Each of them meets it again, knows what to do, and says so.
        logger.info("%s: %d models at once failed (%s)", backend.name, len(questions), error)
        return []
    return _taken(batch.members, ranked, backend.name)


def _taken(
    members: _Members, ranked: Sequence[Ranked | None], computed_on: str
) -> list[tuple[int, Configuration]]:
    """Have each optimiser take its best point; who has none left says so when it is asked alone."""
    answered = [
        (index, question.optimizer, points)
        for (index, question), points in zip(members, ranked, strict=True)
        if points is not None
    ]
    best = from_unit_each(
        [optimizer.space for _, optimizer, _ in answered],
        [points.best for _, _, points in answered],
    )
    taken = []
    for (index, optimizer, points), first in zip(answered, best, strict=True):
        with contextlib.suppress(SpaceExhausted):
            taken.append((index, optimizer.take(first, points, computed_on)))
    return taken


@dataclass(frozen=True, slots=True)
class _Shared:
    """Stand for a likelihood that is computed with others."""

    prior: Prior
    negative_log_posterior: Function


def _fit(backend: GpuBackend, questions: Sequence[Question]) -> None:
    """Fit the hyperparameters of those whose turn it is, to one length of the history after the other."""
    rounds = max(len(question.due) for question in questions)
    for number in range(rounds):
        due = [question for question in questions if number < len(question.due)]
        lengths = [question.due[number] for question in due]
        surrogates = [question.surrogate for question in due]
        likelihoods = Likelihoods(
            backend,
            [each.layout for each in surrogates],
            [each.prior for each in surrogates],
            [question.x[:length] for question, length in zip(due, lengths, strict=True)],
            [
                question.surrogate.warped(question.told[:length])
                for question, length in zip(due, lengths, strict=True)
            ],
        )
        works = [_Work(question) for question in due]
        found = in_lockstep(works, likelihoods.negative_log_posteriors)
        for surrogate, theta, length in zip(surrogates, found, lengths, strict=True):
            surrogate.adopt(theta, length)


@dataclass(frozen=True, slots=True)
class _Work:
    """Fit one model, by a function of its own."""

    question: Question

    def __call__(self, function: Function) -> F64:
        surrogate = self.question.surrogate
        likelihood = _Shared(surrogate.prior, function)
        return fit(likelihood, [surrogate.theta], max_evaluations=surrogate.evaluations)


def _searched(backend: GpuBackend, questions: Sequence[Question]) -> list[Ranked | None]:
    """Search the acquisition of each; None where the covariance has no factor."""
    d = max(question.x.shape[1] for question in questions)
    points = padded([np.concatenate([each.x, each.held]) for each in questions])
    observed = np.array([len(each.x) for each in questions])
    y = np.zeros(points.shape[:2])
    values = padded([each.values for each in questions])
    there = np.arange(values.shape[1]) < observed[:, None]
    y[:, : values.shape[1]] = warped_each(values, there)
    rows = [row_of(each.surrogate.layout, d) for each in questions]
    models = np.stack(
        [row.filled(each.surrogate.theta) for row, each in zip(rows, questions, strict=True)]
    )
    for row, model, each in zip(rows, models, questions, strict=True):
        row.move(model, each.lattice.smooth)
    models[:, OBSERVED], models[:, COUNT] = observed, [each.count for each in questions]
    predictors = Predictors(backend, points, y, models)
    search = questions[0].search
    lattices, rngs = [each.lattice for each in questions], [each.rng for each in questions]
    # Candidates are drawn while the GPU factors.
    searches = Searches(predictors, lattices, rngs, search, d)
    explained = predictors.explained()
    noise = np.array([each.surrogate.noise for each in questions])
    models[:, VARIANCE] = (VARIANCE_RATE + 0.5 * explained.squares) / (
        0.5 * observed + VARIANCE_SHAPE
    )
    models[:, SPREAD] = models[:, VARIANCE] * noise
    # The means at the observations themselves; see `Predictor.fitted`.
    fitted = np.where(there, y[:, : values.shape[1]], np.inf)
    fitted[there] -= (noise[:, None] * explained.alpha[:, : values.shape[1]])[there]
    order = np.argsort(fitted, axis=1, kind="stable")
    models[:, BEST] = fitted.min(axis=1)
    predictors.aim(models)
    ranked = searches.ranked(
        [
            each.x[own[: min(search.incumbents, len(each.x))]]
            for each, own in zip(questions, order, strict=True)
        ]
    )
    return [
        each if is_sound else None
        for each, is_sound in zip(ranked, explained.is_sound, strict=True)
    ]
