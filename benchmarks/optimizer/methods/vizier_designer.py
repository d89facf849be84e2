"""Adapt OSS Vizier's default, the Gaussian process bandit with UCB-PE, without its service.

With 64-bit JAX, as Vizier's own service sets it. JAX compiles anew for each number of observations.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from benchmarks.optimizer.methods.method import Peer
from benchmarks.optimizer.space import Configuration, Parameter, Type, Value


class VizierUcbPe(Peer):
    """Suggest and update a designer."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        super().__init__(space, seed=seed, evaluations=evaluations)
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        jax = import_module("jax")
        jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - JAX's signature
        self._vz = import_module("vizier.pyvizier")
        self._algorithms = import_module("vizier.algorithms")
        # Not by way of `vizier.algorithms.designers`, which imports what is not installed.
        designer = import_module("vizier._src.algorithms.designers.gp_ucb_pe").VizierGPUCBPEBandit
        self._designer = designer(self._problem(), rng=jax.random.PRNGKey(seed))
        self._active: dict[int, Any] = {}
        self._count = 0

    def suggest(self) -> tuple[dict[str, Value], object]:
        """Ask for one suggestion."""
        (suggestion,) = self._designer.suggest(1)
        trial = self._number(suggestion)
        self._active[trial.id] = trial
        self._update([])
        values = suggestion.parameters.as_dict()
        return {each.name: _plain(each, values[each.name]) for each in self.space}, trial

    def observe(self, configuration: Configuration, handle: object, value: float) -> None:
        """Complete a trial."""
        trial = handle
        if trial is None:
            trial = self._number(self._vz.TrialSuggestion(parameters=dict(configuration)))
        self._complete(trial, value)

    def _complete(self, trial: Any, value: float) -> None:
        trial.complete(self._vz.Measurement(metrics={"loss": value}))
        self._active.pop(trial.id, None)
        self._update([trial])

    def _number(self, suggestion: Any) -> Any:
        self._count += 1
        return suggestion.to_trial(self._count)

    def _update(self, completed: list[object]) -> None:
        self._designer.update(
            self._algorithms.CompletedTrials(completed),
            self._algorithms.ActiveTrials(list(self._active.values())),
        )

    def _problem(self) -> object:
        problem = self._vz.ProblemStatement()
        root = problem.search_space.root
        scales = self._vz.ScaleType
        for parameter in self.space:
            scale = scales.LOG if parameter.log else scales.LINEAR
            if parameter.type is Type.CATEGORICAL:
                root.add_categorical_param(parameter.name, list(parameter.values))
            elif parameter.type is Type.INTEGER:
                lo, hi = int(parameter.lo), int(parameter.hi)
                root.add_int_param(parameter.name, lo, hi, scale_type=scale)
            else:
                root.add_float_param(parameter.name, parameter.lo, parameter.hi, scale_type=scale)
        goal = self._vz.ObjectiveMetricGoal.MINIMIZE
        problem.metric_information.append(self._vz.MetricInformation(name="loss", goal=goal))
        return problem


def _plain(parameter: Parameter, value: object) -> Value:
    if parameter.type is Type.CATEGORICAL:
        return str(value)
    number = min(max(float(str(value)), parameter.lo), parameter.hi)
    return round(number) if parameter.type is Type.INTEGER else number
