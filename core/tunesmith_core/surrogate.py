"""Keep a Gaussian process up to date with a history: refit on a schedule, append in between.

What it predicts is a function of the history alone. The hyperparameters are fitted at fixed
lengths of the history, each time to what was there at that length, starting from the fit before;
so it makes no difference whether observations came one at a time or all at once. Who gives that up
may have them fitted less often, and then to the history as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tunesmith_core.devices import Devices
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.fit import fit
from tunesmith_core.gp.likelihood import Likelihood
from tunesmith_core.gp.parameters import Layout, unpack
from tunesmith_core.gp.posterior import Posterior, Predictor
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.objective import telling, warped
from tunesmith_core.space.scaling import F64

_SPARE = 16
"""Room for pending points beside the observations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """Hold when and how hard hyperparameters are fitted; the defaults are those measured best.

    Attributes:
        first: Length of the history at the first fit.
        growth: The next fit comes after a growth by one ``growth``-th, at least by one.
        evaluations: Of the likelihood, at most, in one fit.
        subset: Hyperparameters are fitted to at most so many observations.
        window: The acquisition is searched with at most so many observations.
        large_subset: The same as ``subset`` where a GPU computes.
        large_window: The same as ``window`` where a GPU computes.
        prior: What is believed of the hyperparameters.
    """

    first: int = 4
    growth: int = 24
    evaluations: int = 30
    subset: int = 200
    window: int = 160
    large_subset: int = 10_000
    large_window: int = 10_000
    prior: PriorSettings = field(default_factory=PriorSettings)

    def subset_on(self, backend: Backend) -> int:
        """Give how many observations hyperparameters are fitted to at most."""
        return self.large_subset if backend.is_large_scale else self.subset

    def window_on(self, backend: Backend) -> int:
        """Give how many observations the acquisition is searched with at most."""
        return self.large_window if backend.is_large_scale else self.window


@dataclass(slots=True, kw_only=True)
class _Model:
    """Hold what is known of a history.

    Attributes:
        theta: Hyperparameters.
        fitted: Length of the history to which they were fitted; 0 before the first fit.
        posterior: Of the observations under them; None before the first.
        followed: How many observations it has.
    """

    theta: F64
    fitted: int = 0
    posterior: Posterior | None = None
    followed: int = 0


class Surrogate:
    """Follow a growing history.

    Args:
        layout: What each coordinate is.
        devices: Who does the array work.
        settings: When and how hard to fit.
        warp: Turns values (n,) into what is fitted to.
        earlier: The history begins with so many observations of earlier searches, which are there
            from the start.

    Attributes:
        layout: What each coordinate is.
        prior: What is believed of the hyperparameters.
        warped: Turns values (n,) into what is fitted to.
    """

    def __init__(
        self,
        layout: Layout,
        devices: Devices,
        settings: FitSettings,
        *,
        warp: Callable[[F64], F64] = warped,
        earlier: int = 0,
    ) -> None:
        self.layout, self._devices, self._settings = layout, devices, settings
        self.warped, self._earlier = warp, earlier
        self.prior = prior_of(layout, settings.prior)
        self._model = _Model(theta=self.prior.mean)

    @property
    def theta(self) -> F64:
        """Give the logarithms of the hyperparameters, as they were fitted last."""
        return self._model.theta

    @property
    def noise(self) -> float:
        """Give the variance of the noise that they have, in units of the signal's."""
        return unpack(self.layout, self.theta).noise

    @property
    def is_as_fitted(self) -> bool:
        """Tell whether the covariance has a factor, as far as is known, without more noise than that."""
        posterior = self._model.posterior
        return posterior is None or posterior.noise == self.noise

    @property
    def evaluations(self) -> int:
        """Give how many likelihoods a fit may take."""
        return self._settings.evaluations

    def due(self, n: int, growth: int | None) -> list[int]:
        """Give the lengths of the history, up to n, to which fits are due; as `follow` does them."""
        return list(self._due(self._model.fitted, n, growth))

    def backend_after(self, due: Sequence[int]) -> Backend | None:
        """Give who does the array work once fits to these lengths are done, and of them; None if it changes."""
        backends = [self._devices.backend(each) for each in due or [self._model.fitted]]
        return backends[0] if all(each is backends[0] for each in backends) else None

    def most_seen_on(self, backend: Backend) -> int:
        """Give up to how many observations all of them are fitted to, and searched with."""
        return min(self._settings.subset_on(backend), self._settings.window_on(backend))

    def adopt(self, theta: F64, fitted: int) -> None:
        """Take over hyperparameters that were fitted to so many observations."""
        self._model = _Model(theta=theta, fitted=fitted)

    def follow(self, x: F64, values: F64, *, growth: int | None = None) -> Posterior:
        """Take in a history, which begins with the one that was taken in before.

        Args:
            x: (n, d) points.
            values: (n,) minimised values, NaN for a failure.
            growth: Fit once, to this history, if it has grown by one ``growth``-th since the last
                fit; what follows is no longer a function of the history alone. Absent: fit by the
                schedule.

        Returns:
            The posterior of these points. It belongs to the surrogate: what is appended to it is
            forgotten at the next call.

        Cost: 2n² flops for each new point; at a fit, up to ``evaluations`` likelihoods of at most
        ``subset`` points, and n³ flops.
        """
        model = self._model
        theta, fitted = model.theta, model.fitted
        for length in self._due(fitted, len(x), growth):
            theta, fitted = self._fit(theta, x[:length], values[:length]), length
        backend = self._devices.backend(fitted)
        if (
            fitted != model.fitted
            or model.posterior is None
            or model.posterior.backend is not backend
        ):
            posterior = Posterior(
                backend,
                self.layout,
                unpack(self.layout, theta),
                x[:fitted],
                capacity=self._next(fitted, growth or self._settings.growth) + _SPARE,
            )
            self._devices.note(backend, self)
            model = _Model(theta=theta, fitted=fitted, posterior=posterior, followed=fitted)
            # All at once: an interrupt before this is as if nothing had been called.
            self._model = model
        else:
            posterior = model.posterior
        posterior.truncate(model.followed)
        # One by one, however many: the same operations, and bits, as if each had come alone.
        for point in x[model.followed :]:
            posterior.append(point)
            model.followed = posterior.n
        return posterior

    def let_go(self) -> None:
        """Forget the posterior, which takes memory; the next `follow` computes it again, bit for bit."""
        self._model = _Model(theta=self._model.theta, fitted=self._model.fitted)

    def _due(self, fitted: int, n: int, growth: int | None) -> Iterator[int]:
        """Give the lengths, up to ``n``, to which fits are due after that to ``fitted``."""
        if growth is not None:
            if self._next(fitted, growth) <= n:
                yield n
            return
        while (fitted := self._next(fitted, self._settings.growth)) <= n:
            yield fitted

    def _next(self, fitted: int, growth: int) -> int:
        if not fitted:
            return self._earlier or self._settings.first
        # Its own observations decide how far earlier ones are to be believed: they set the pace.
        return fitted + max(1, (fitted - self._earlier) // growth)

    def narrowed(self, predictor: Predictor, x: F64, y: F64, centre: F64) -> Predictor:
        """Give a predictor that knows fewer observations, and most of those near ``centre``.

        It is cheap to search with; the whole one is left to have the last word.

        Args:
            predictor: The whole one; returned itself if it has no more than ``window`` points.
            x: (n, d) its points.
            y: (n,) their warped values.
            centre: (d,) the best observed point.

        Cost: n ln n, and ``window``³ flops.
        """
        backend = predictor.posterior.backend
        window = self._settings.window_on(backend)
        if len(x) <= window:
            return predictor
        hyperparameters = predictor.posterior.hyperparameters
        distance = (((x - centre) / hyperparameters.ls) ** 2).sum(axis=1)
        near = np.argsort(distance, kind="stable")[: window * 3 // 4]
        rest = np.setdiff1d(np.arange(len(x)), near)
        rest = rest[np.argsort(y[rest], kind="stable")]
        few = rest[np.linspace(0, len(rest) - 1, window - len(near)).astype(np.intp)]
        chosen = np.sort(np.concatenate([near, few]))
        posterior = Posterior(
            backend, self.layout, hyperparameters, x[chosen], capacity=len(chosen)
        )
        return posterior.condition(y[chosen], variance=predictor.variance)

    def _fit(self, theta: F64, x: F64, values: F64) -> F64:
        """Give the hyperparameters fitted to a history, from ``theta`` on."""
        y = self.warped(values)
        backend = self._devices.backend(len(x))
        subset = self._settings.subset_on(backend)
        if len(x) > subset:
            chosen = self._subset(y, subset)
            x, y = x[chosen], y[chosen]
        likelihood = Likelihood(backend, self.layout, self.prior, x, y)
        return fit(likelihood, [theta], max_evaluations=self._settings.evaluations)

    def _subset(self, y: F64, subset: int) -> NDArray[np.intp]:
        """Choose the observations to fit to; at least half of them are not of earlier searches."""
        earlier = self._earlier
        if not earlier:
            return telling(y, subset)
        own = np.arange(earlier, len(y))
        room = max(subset - earlier, subset // 2)
        if len(own) > room:
            own = own[telling(y[own], room)]
        before = np.arange(earlier)
        if earlier > subset - len(own):
            before = telling(y[:earlier], subset - len(own))
        return np.concatenate([before, own])
