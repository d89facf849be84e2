"""What the optimiser believes: a surrogate, and what it is given to see."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tunesmith_core.devices import Devices
from tunesmith_core.gp.posterior import Posterior, Predictor
from tunesmith_core.space.scaling import F64
from tunesmith_core.surrogate import FitSettings, Surrogate
from tunesmith_core.transfer import ModelSpace
from tunesmith_core.unfinished import Unfinished


class Model:
    """Hold a surrogate with what it is given to see.

    Args:
        space: Its coordinates, and what earlier searches found.
        unfinished: Knows which of the search's own results were stopped.
        devices: Who does the surrogate's array work.
        settings: When and how the surrogate is fitted.
    """

    def __init__(
        self, space: ModelSpace, unfinished: Unfinished, devices: Devices, settings: FitSettings
    ) -> None:
        self.space = space
        self._unfinished = unfinished
        self.surrogate = Surrogate(
            space.layout, devices, settings, warp=self._warped, earlier=space.earlier
        )

    def view(self, own: F64, values: F64, growth: int | None) -> View:
        """Take in this search's points (n, d) and values (n,), and say what they come to."""
        x = np.concatenate([self.space.x, self.space.embedded(own)])
        values = np.concatenate([self.space.values, values])
        posterior = self.surrogate.follow(x, values, growth=growth)
        values = self._comparable(values)
        y = self.space.warped(values)
        return View(self, x, values, y, posterior, posterior.condition(y))

    def _warped(self, values: F64) -> F64:
        """Warp the first values of all that are known, as far as they tell by themselves."""
        return self.space.warped(self._comparable(values))

    def _comparable(self, values: F64) -> F64:
        earlier = self.space.earlier
        return np.concatenate([values[:earlier], self._unfinished.comparable(values[earlier:])])


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Hold what a model says: its points (n, d'), their values (n,), warped too, and predictions."""

    model: Model
    x: F64
    values: F64
    y: F64
    posterior: Posterior
    predictor: Predictor

    @property
    def evidence(self) -> float:
        """Tell how well the search's own results are predicted from all else, in their own unit."""
        own = slice(self.model.space.earlier, None)
        unit = math.log(max(float(self.y[own].std()), 1e-300))
        return float((self.predictor.left_out()[own] + unit).sum())
