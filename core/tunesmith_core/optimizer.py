"""Suggest configurations by Bayesian optimisation: ask and tell.

A suggestion is a pure function of the search space, the seed, the ordered history and the pending
configurations: the same, bit for bit on the same machine, after a restart, and however the history
was told. What an `Optimizer` keeps between calls only saves work.

The first suggestions are quasi-random. Then a Gaussian process is fitted to the history
(`surrogate`), configurations that are pending count as if they had come out as expected, and the
point with the largest log expected improvement is looked for (`acquisition`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tunesmith_core.acquisition.lattice import Lattice
from tunesmith_core.acquisition.maximise import Search, SearchSettings
from tunesmith_core.designs.quasi_random import QuasiRandomDesign
from tunesmith_core.devices import Devices
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.gp.backends import Backend
from tunesmith_core.model import Model, View
from tunesmith_core.objective import Goal, minimised, slope_of
from tunesmith_core.randomness import Stream, keyed_generator
from tunesmith_core.space.encoding import from_unit, to_unit
from tunesmith_core.space.ranges import Configuration, ParameterValue, SearchSpace
from tunesmith_core.space.scaling import F64
from tunesmith_core.surrogate import FitSettings, Surrogate
from tunesmith_core.threads import on_one_thread
from tunesmith_core.transfer import Experience, ModelSpace
from tunesmith_core.unfinished import Unfinished

_FINALISTS = 16
"""So many points that a narrowed predictor liked best are judged by the whole one."""

_FAR = 1e100
"""In units of the warped objective: no more is told apart, and squares of it are finite."""

_DOUBT = 2.0
"""By so much must the model that believes earlier searches predict better, in ln p of all results."""

_T = TypeVar("_T")
_Row = tuple[ParameterValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold what the optimiser can be tuned by; the defaults are those measured best.

    Attributes:
        initial: How many suggestions are quasi-random before the surrogate takes over.
        spread: One of so many suggestions goes on to be quasi-random once a stopping rule has
            stopped a trial, at least 2. A rule compares those that reach a rung with each other:
            if all come from the surrogate, what is good but slow is stopped among its likes.
            Source: Falkner, Klein & Hutter 2018, "BOHB", whose share of a third this is.
        fit: When and how the surrogate is fitted.
        search: How hard the acquisition is searched.
    """

    initial: int = 6
    spread: int = 3
    fit: FitSettings = field(default_factory=FitSettings)
    search: SearchSettings = field(default_factory=SearchSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Hold the next suggestion, and what is expected of it.

    Attributes:
        configuration: The suggestion.
        log_gain: Logarithm of the surrogate's expected improvement, in the objective's own unit; -inf
            where nothing is known to expect it from.
    """

    configuration: Configuration
    log_gain: float


@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """Hold points (m, d') of a model, best first, what scores them, and in which unit."""

    space: ModelSpace
    points: F64
    search: Search
    slope: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Question:
    """Hold what the next suggestion of an optimiser is to be computed from, together with others.

    Attributes:
        optimizer: Whose it is.
        surrogate: Its model's.
        backend: Who does the array work, of due fits too.
        due: Lengths of the history to which fits are due.
        x: (n, d) observed points.
        told: (n,) their minimised values, NaN for failures.
        values: The same, comparable.
        held: (p, d) pending points.
        lattice: Which points are configurations.
        search: How hard to search.
        rng: Where candidates come from.
        most: With so many observations and pending points all of them are seen.
    """

    optimizer: Optimizer
    surrogate: Surrogate
    backend: Backend
    due: list[int]
    x: F64
    told: F64
    values: F64
    held: F64
    lattice: Lattice
    search: SearchSettings
    rng: np.random.Generator
    most: int

    @property
    def count(self) -> int:
        """Count observed and pending points."""
        return len(self.x) + len(self.held)


class Optimizer:
    """Ask for configurations, tell what came of them.

    Not safe for use from several threads at once.

    Args:
        space: What to search.
        seed: From 0 to 2**63 - 1.
        goal: Which way the told values are better.
        settings: How; the defaults suit.
        devices: Who does the surrogate's array work; compiled kernels on the CPU when absent.
        experience: What earlier searches found, to be learnt from.

    Raises:
        ValueError: The seed is out of range.
        SpaceError: The experience does not fit the space.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        goal: Goal = Goal.MINIMIZE,
        settings: Settings | None = None,
        devices: Devices | None = None,
        experience: Experience | None = None,
    ) -> None:
        self.space, self.seed, self.goal = space, seed, goal
        self._settings = settings or Settings()
        self._design = QuasiRandomDesign(space, seed)
        self._design_index = 0
        self._model_space = ModelSpace(space, goal, experience)
        self._devices = devices or Devices("cpu")
        self._computed_on = "cpu"
        self._made: list[Model] = []
        self._x: list[F64] = []
        self._values: list[float] = []
        self._unfinished = Unfinished()
        self._pending: dict[_Row, Configuration] = {}
        self._ended: set[_Row] = set()
        self._known: set[_Row] = set()  # ended or pending
        # What is computed of them for `together`, kept because it takes longer than to look it up.
        self._observed: F64 = np.empty((0, space.dimensions))
        self._points: dict[_Row, F64] = {}

    @property
    def pending(self) -> list[Configuration]:
        """Give the configurations that were asked for and not told, oldest first."""
        return list(self._pending.values())

    def ask(
        self, count: int = 1, *, quasi_random: bool = False, growth: int | None = None
    ) -> list[Configuration]:
        """Suggest new configurations, which are pending from then on.

        Args:
            count: How many; each is chosen with those before it pending.
            quasi_random: Do without the surrogate, and so without its compiled kernels.
            growth: Fit the surrogate at most once, when the history has grown by one ``growth``-th
                since the last fit, instead of by ``Settings.fit``: quicker, and the suggestions
                are no longer a function of the history alone. At least 1.

        Returns:
            ``count`` distinct configurations that were never known before; fewer if no more are
            left.

        Raises:
            SpaceExhausted: None is left.
            ValueError: ``growth`` is out of range.

        Cost: for each, what `Surrogate.follow` has to take in, and a search: with w the lesser of n and
        ``window``, w²m + 3wmd flops for m candidates, and the climbs; quasi-random ones d draws.
        """
        _check_growth(growth)
        asked: list[Configuration] = []
        for _ in range(count):
            try:
                configuration = self._suggest(quasi_random=quasi_random, growth=growth)
            except SpaceExhausted:
                if asked:
                    break
                raise
            self.hold(configuration)
            asked.append(configuration)
        return asked

    def tell(
        self,
        configuration: Configuration,
        value: float | None,
        *,
        rungs: Sequence[float] = (),
        is_stopped: bool = False,
    ) -> None:
        """Record what came of a configuration, asked for or not.

        Args:
            configuration: Inside the space.
            value: The objective; None, NaN and infinities are a failure, worse than all the rest.
            rungs: The objective at each rung of a stopping rule that the trial reached, from the
                first on.
            is_stopped: The rule stopped it, after the last of these; see `unfinished`.

        Raises:
            SpaceError: The configuration is not one of the space.

        Cost: d operations; what follows from it is computed by the next ask.
        """
        (point,) = to_unit(self.space, [configuration])
        row = self._row(configuration)
        self._end(row)
        self._x.append(point)
        self._values.append(minimised(value, self.goal))
        self._reached(len(self._x) - 1, rungs, is_stopped=is_stopped)

    def correct(
        self,
        configuration: Configuration,
        value: float | None,
        *,
        rungs: Sequence[float] = (),
        is_stopped: bool = False,
    ) -> None:
        """Replace what was told last of a configuration: its trial has gone on.

        What is fitted by the schedule stays fitted to what was told before, so that suggestions are no
        longer a function of the history as it is now.

        Args:
            configuration: Told before.
            value: As in `tell`.
            rungs: The same.
            is_stopped: The same.

        Raises:
            KeyError: It was not.
            SpaceError: The configuration is not one of the space.

        Cost: n operations.
        """
        (point,) = to_unit(self.space, [configuration])
        for place in reversed(range(len(self._x))):
            if np.array_equal(self._x[place], point):
                self._values[place] = minimised(value, self.goal)
                self._reached(place, rungs, is_stopped=is_stopped)
                return
        raise KeyError(f"{configuration} was not told")

    def _reached(self, place: int, rungs: Sequence[float], *, is_stopped: bool) -> None:
        values = [minimised(each, self.goal) for each in rungs]
        self._unfinished.put(place, values, is_stopped=is_stopped)

    def abandon(self, configuration: Configuration) -> None:
        """Record that nothing will come of a configuration, which says nothing about it.

        It is not suggested again.

        Raises:
            SpaceError: The configuration is not one of the space.
        """
        to_unit(self.space, [configuration])
        self._end(self._row(configuration))

    def set_pending(self, configurations: Sequence[Configuration]) -> None:
        """Replace the pending configurations, in order.

        One that was pending, is not any more and has not ended is taken back, as if it had never
        been asked for.

        Raises:
            SpaceError: One is not of the space.

        Cost: d operations for each; after one was taken back, the next quasi-random suggestion looks
        through those before it.
        """
        if configurations:
            to_unit(self.space, configurations)
        before = set(self._pending) - self._ended
        self._pending = {}
        for configuration in configurations:
            self.hold(configuration)
        taken_back = before.difference(self._pending)
        if taken_back:
            self._known -= taken_back
            self._design_index = 0  # it may have passed over them

    def _end(self, row: _Row) -> None:
        self._pending.pop(row, None)
        self._ended.add(row)
        self._known.add(row)

    def _row(self, configuration: Configuration) -> _Row:
        return tuple(configuration[name] for name in self.space.names)

    def promise(self, *, best: float, slope: float, growth: int | None = None) -> Promise:
        """Say how much the next suggestion promises, without making it pending.

        Args:
            best: What is to be improved on, minimised: the best value of this search or of another.
            slope: Units of the warped objective in one of the objective, for when all values of
                this search are equal and say nothing of that.
            growth: As in `ask`.

        Raises:
            SpaceExhausted: None is left.

        Cost: that of `ask`.
        """
        if not (np.isfinite(self._values).any() or (self._has_value and self._model_space.trusts)):
            return Promise(configuration=self._unknown(), log_gain=-math.inf)

        def promised() -> Promise:
            ranking = self._promising(growth, best=best, slope=slope)
            configuration = self._first_unknown(ranking.points)
            # Of this one: a point that promises more may be known already.
            point = ranking.space.embedded(to_unit(self.space, [configuration]))
            log_gain = float(ranking.search.scores(point)[0]) - math.log(ranking.slope or 1.0)
            if self.is_spreading:
                configuration = self._unknown()
            return Promise(configuration=configuration, log_gain=log_gain)

        return self._computed(promised)

    @property
    def computed_on(self) -> str:
        """Name what computed the latest suggestion: ``cpu``, or ``gpu:0`` and the card's name."""
        return self._computed_on

    @property
    def values(self) -> F64:
        """Give what was told, minimised and comparable, (n,), NaN for failures."""
        return self._unfinished.comparable(np.array(self._values))

    @property
    def is_unfinished(self) -> bool:
        """Tell whether it was told of trials that were stopped, or rest, and of no others."""
        return 0 < self._unfinished.stopped == len(self._values)

    @property
    def is_spreading(self) -> bool:
        """Tell whether the next suggestion is spread out, to give a stopping rule a comparison."""
        return self._unfinished.stopped > 0 and len(self._known) % self._settings.spread == 0

    @property
    def known(self) -> int:
        """Count the configurations that were asked for or told."""
        return len(self._known)

    def hold(self, configuration: Configuration) -> None:
        """Take a configuration of the space for asked for: it is pending from now on."""
        row = self._row(configuration)
        self._pending[row] = configuration
        self._known.add(row)

    def question(self, growth: int | None = None) -> Question | None:
        """Say what the next suggestion is to be computed from, for `together`.

        Args:
            growth: As in `ask`.

        Returns:
            None where `ask` goes another way than through one model of this search alone.

        Raises:
            ValueError: ``growth`` is out of range.
        """
        _check_growth(growth)
        starts = self._is_starting or self.is_spreading or not self._has_value
        if starts or self._model_space.earlier:
            return None
        (model,) = self._models()
        surrogate = model.surrogate
        due = surrogate.due(len(self._x), growth)
        backend = surrogate.backend_after(due)
        if backend is None or not (due or surrogate.is_as_fitted):
            return None
        told = np.array(self._values)
        return Question(
            optimizer=self,
            surrogate=surrogate,
            backend=backend,
            due=due,
            x=self._own,
            told=told,
            values=self._unfinished.comparable(told),
            held=self._held,
            lattice=self._model_space.lattice,
            search=self._settings.search,
            rng=keyed_generator(self.seed, len(self._known), Stream.ACQUISITION),
            most=surrogate.most_seen_on(backend),
        )

    def take(self, first: Configuration, points: Iterable[F64], computed_on: str) -> Configuration:
        """Suggest, and hold, the best that is not known.

        Args:
            first: The best point's configuration.
            points: All of them (d,), best first.
            computed_on: What they were computed on.

        Raises:
            SpaceExhausted: None is left.
        """
        is_known = self._row(first) in self._known
        configuration = self._first_unknown(points) if is_known else first
        self._computed_on = computed_on
        self.hold(configuration)
        return configuration

    @property
    def _own(self) -> F64:
        """Give the observed points (n, d)."""
        fresh = self._x[len(self._observed) :]
        if fresh:
            self._observed = np.concatenate([self._observed, fresh])
        return self._observed

    @property
    def _held(self) -> F64:
        """Give the pending points (p, d)."""
        missing = [row for row in self._pending if row not in self._points]
        if missing:
            points = to_unit(self.space, [self._pending[row] for row in missing])
            self._points = {
                row: point for row, point in self._points.items() if row in self._pending
            } | dict(zip(missing, points, strict=True))
        return np.array([self._points[row] for row in self._pending]).reshape(
            len(self._pending), self.space.dimensions
        )

    @property
    def _has_value(self) -> bool:
        return bool(np.isfinite(self._values).any() or np.isfinite(self._model_space.values).any())

    def _suggest(self, *, quasi_random: bool, growth: int | None) -> Configuration:
        if quasi_random or self._is_starting or self.is_spreading or not self._has_value:
            self._computed_on = "cpu"
            return self._unknown()
        return self._computed(lambda: self._first_unknown(self._promising(growth).points))

    def _computed(self, work: Callable[[], _T]) -> _T:
        """Do work with the models; again if a GPU fails, as nothing of it is kept."""
        n = self._model_space.earlier + len(self._x)
        with on_one_thread():
            for attempt in itertools.count():
                try:
                    with self._devices.active(n):
                        return work()
                except Exception as error:
                    if not self._devices.may_go_on(error, is_first=not attempt):
                        raise
        raise AssertionError

    @property
    def _is_starting(self) -> bool:
        """Tell whether the next suggestion is to be spread out, whatever is known."""
        known, space = len(self._known), self._model_space
        if space.trusts or known >= self._settings.initial:
            return False
        # The first one goes by what earlier searches found: more of them may be wasted.
        return known > 0 or not space.earlier

    def _promising(
        self, growth: int | None, *, best: float | None = None, slope: float = 0.0
    ) -> _Ranking:
        """Rank points (m, d') by what they promise over ``best``; absent: over what is expected."""
        view = self._view(growth)
        space, posterior, predictor = view.model.space, view.posterior, view.predictor
        x, y = view.x, view.y
        fitted = predictor.fitted(y)
        incumbents = space.lattice.pinned(x)
        if space.earlier:
            # What earlier searches found counts as it is expected to come out here.
            before = slice(0, space.earlier)
            fitted[before] = predictor.mean(incumbents[before])
        order = np.argsort(fitted, kind="stable")
        incumbents = incumbents[order]
        # Of the same objective all values are at stake.
        start = 0 if space.trusts or not self._values else space.earlier
        target = float(fitted[start:].min())
        if best is not None:
            slope = slope_of(view.values[start:], y[start:]) or slope
            shift = slope * (best - float(np.nanmin(view.values[start:])))
            target += min(max(shift, -_FAR), _FAR)
        if self._pending:
            # As if they had come out as expected: the mean stays, the variance shrinks.
            # Source: Ginsbourger, Le Riche & Carraro 2010, "kriging believer".
            held = space.embedded(to_unit(self.space, self.pending))
            x, y = np.concatenate([x, held]), np.concatenate([y, predictor.mean(held)])
            for point in held:
                posterior.append(point)
            predictor = posterior.condition(y, variance=predictor.variance)
        narrowed = view.model.surrogate.narrowed(predictor, x, y, incumbents[0])
        rng = keyed_generator(self.seed, len(self._known), Stream.ACQUISITION)
        settings = self._settings.search
        search = Search(narrowed, space.lattice, target, settings)
        points = search.ranked(rng, incumbents)
        if narrowed is not predictor:
            search = Search(predictor, space.lattice, target, settings)
            points = search.best_first(points[:_FINALISTS])
        return _Ranking(space, points, search, slope)

    def _first_unknown(self, points: Iterable[F64]) -> Configuration:
        for point in points:
            (configuration,) = from_unit(self.space, self._model_space.searched(point[None]))
            if self._row(configuration) not in self._known:
                return configuration
        return self._unknown()

    def _view(self, growth: int | None) -> View:
        """Give what the model says that explains this search's own results best."""
        own = np.array(self._x).reshape(len(self._x), self.space.dimensions)
        views = [model.view(own, np.array(self._values), growth) for model in self._models()]
        chosen = views[0]
        if len(views) > 1 and np.isfinite(self._values).sum() >= self._settings.initial:
            everything, alone = views
            chosen = everything if everything.evidence > alone.evidence + _DOUBT else alone
        self._computed_on = chosen.posterior.backend.name
        return chosen

    def _models(self) -> list[Model]:
        """Give the model of all that is known and, as that may mislead, the one of this search."""
        if not self._made:
            spaces = [self._model_space]
            if self._model_space.earlier:
                spaces.append(ModelSpace(self.space, self.goal, None))
            fit = self._settings.fit
            self._made = [Model(space, self._unfinished, self._devices, fit) for space in spaces]
        return self._made

    def _unknown(self) -> Configuration:
        """Give the first configuration of the quasi-random design that is not known yet."""
        while True:
            configuration = self._design.configuration(self._design_index)
            if self._row(configuration) not in self._known:
                return configuration
            # What was passed over stays so until something known is taken back.
            self._design_index += 1


def _check_growth(growth: int | None) -> None:
    if growth is not None and growth < 1:
        raise ValueError(f"growth must be at least 1, not {growth}")
