"""Suggest configurations by Bayesian optimisation: ask and tell.

A suggestion is a pure function of the search space, the seed, the ordered history and the pending
configurations: the same, bit for bit on the same machine, after a restart, and however the history
was told. What an `Optimizer` keeps between calls only saves work.

The first suggestions are quasi-random. Then a Gaussian process is fitted to the history
(`surrogate`), configurations that are pending count as if they had come out as expected, and the
point with the largest log expected improvement is looked for (`acquisition`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tunesmith_core.acquisition.lattice import Lattice
from tunesmith_core.acquisition.maximise import Search, SearchSettings
from tunesmith_core.designs.quasi_random import QuasiRandomDesign
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.parameters import layout_of
from tunesmith_core.objective import Goal, minimised, warped
from tunesmith_core.randomness import Stream, keyed_generator
from tunesmith_core.space.encoding import from_unit, to_unit
from tunesmith_core.space.ranges import Configuration, ParameterValue, SearchSpace
from tunesmith_core.space.scaling import F64
from tunesmith_core.surrogate import FitSettings, Surrogate
from tunesmith_core.threads import on_one_thread

_FINALISTS = 16
"""So many points that a narrowed predictor liked best are judged by the whole one."""

_Row = tuple[ParameterValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold what the optimiser can be tuned by; the defaults are those measured best.

    Attributes:
        initial: How many suggestions are quasi-random before the surrogate takes over.
        fit: When and how the surrogate is fitted.
        search: How hard the acquisition is searched.
    """

    initial: int = 6
    fit: FitSettings = field(default_factory=FitSettings)
    search: SearchSettings = field(default_factory=SearchSettings)


class Optimizer:
    """Ask for configurations, tell what came of them.

    Not safe for use from several threads at once.

    Args:
        space: What to search.
        seed: From 0 to 2**63 - 1.
        goal: Which way the told values are better.
        settings: How; the defaults suit.
        backend: Who does the surrogate's array work; compiled kernels when absent.

    Raises:
        ValueError: The seed is out of range.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        goal: Goal = Goal.MINIMIZE,
        settings: Settings | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.space, self.seed, self.goal = space, seed, goal
        self._settings = settings or Settings()
        self._design = QuasiRandomDesign(space, seed)
        self._design_index = 0
        self._lattice = Lattice(space)
        self._backend = backend
        self._surrogate: Surrogate | None = None
        self._x: list[F64] = []
        self._values: list[float] = []
        self._pending: dict[_Row, Configuration] = {}
        self._ended: set[_Row] = set()
        self._known: set[_Row] = set()  # ended or pending

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
        if growth is not None and growth < 1:
            raise ValueError(f"growth must be at least 1, not {growth}")
        asked: list[Configuration] = []
        for _ in range(count):
            try:
                configuration = self._suggest(quasi_random=quasi_random, growth=growth)
            except SpaceExhausted:
                if asked:
                    break
                raise
            self._hold(configuration)
            asked.append(configuration)
        return asked

    def tell(self, configuration: Configuration, value: float | None) -> None:
        """Record what came of a configuration, asked for or not.

        Args:
            configuration: Inside the space.
            value: The objective; None, NaN and infinities are a failure, worse than all the rest.

        Raises:
            SpaceError: The configuration is not one of the space.

        Cost: d operations; what follows from it is computed by the next ask.
        """
        (point,) = to_unit(self.space, [configuration])
        row = self._row(configuration)
        self._end(row)
        self._x.append(point)
        self._values.append(minimised(value, self.goal))

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
            self._hold(configuration)
        taken_back = before.difference(self._pending)
        if taken_back:
            self._known -= taken_back
            self._design_index = 0  # it may have passed over them

    def _end(self, row: _Row) -> None:
        self._pending.pop(row, None)
        self._ended.add(row)
        self._known.add(row)

    def _hold(self, configuration: Configuration) -> None:
        row = self._row(configuration)
        self._pending[row] = configuration
        self._known.add(row)

    def _row(self, configuration: Configuration) -> _Row:
        return tuple(configuration[name] for name in self.space.names)

    def _suggest(self, *, quasi_random: bool, growth: int | None) -> Configuration:
        first = len(self._known) < self._settings.initial
        if quasi_random or first or not np.isfinite(self._values).any():
            return self._unknown()
        with on_one_thread():
            points = self._promising(growth)
        for point in points:
            (configuration,) = from_unit(self.space, point[None])
            if self._row(configuration) not in self._known:
                return configuration
        return self._unknown()

    def _promising(self, growth: int | None) -> F64:
        """Give points (m, d), those that promise most first."""
        surrogate = self._followed_surrogate()
        x, values = np.array(self._x), np.array(self._values)
        posterior = surrogate.follow(x, values, growth=growth)
        y = warped(values)
        predictor = posterior.condition(y)
        fitted = predictor.fitted(y)
        order = np.argsort(fitted, kind="stable")
        best, incumbents = float(fitted[order[0]]), x[order]
        if self._pending:
            # As if they had come out as expected: the mean stays, the variance shrinks.
            # Source: Ginsbourger, Le Riche & Carraro 2010, "kriging believer".
            held = to_unit(self.space, self.pending)
            x, y = np.concatenate([x, held]), np.concatenate([y, predictor.mean(held)])
            for point in held:
                posterior.append(point)
            predictor = posterior.condition(y, variance=predictor.variance)
        narrowed = surrogate.narrowed(predictor, x, y, incumbents[0])
        rng = keyed_generator(self.seed, len(self._known), Stream.ACQUISITION)
        settings = self._settings.search
        points = Search(narrowed, self._lattice, best, settings).ranked(rng, incumbents)
        if narrowed is predictor:
            return points
        return Search(predictor, self._lattice, best, settings).best_first(points[:_FINALISTS])

    def _followed_surrogate(self) -> Surrogate:
        if self._surrogate is None:
            layout = layout_of(self.space)
            backend = self._backend or _compiled_backend()
            self._surrogate = Surrogate(layout, backend, self._settings.fit)
        return self._surrogate

    def _unknown(self) -> Configuration:
        """Give the first configuration of the quasi-random design that is not known yet."""
        while True:
            configuration = self._design.configuration(self._design_index)
            if self._row(configuration) not in self._known:
                return configuration
            # What was passed over stays so until something known is taken back.
            self._design_index += 1


def _compiled_backend() -> Backend:
    # Imported here: numba takes seconds, and quasi-random suggestions do without.
    from tunesmith_core.gp.numba_backend import NumbaBackend

    return NumbaBackend()
