"""Adapt Optuna's samplers: TPE and the Gaussian process, with their own defaults.

Both start with ten random trials. The study lives in memory.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from benchmarks.optimizer.methods.method import Peer
from benchmarks.optimizer.space import Configuration, Parameter, Type, Value


class _Sampler(Peer):
    """Ask and tell a study."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        super().__init__(space, seed=seed, evaluations=evaluations)
        self._optuna = import_module("optuna")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        self._study = self._optuna.create_study(sampler=self.sampler(self._optuna.samplers))
        self._ranges = {parameter.name: self._range(parameter) for parameter in self.space}

    @abstractmethod
    def sampler(self, samplers: Any) -> object:
        """Make the sampler."""

    def suggest(self) -> tuple[dict[str, Value], object]:
        """Ask the study."""
        trial = self._study.ask(self._ranges)
        return dict(trial.params), trial

    def observe(self, configuration: Configuration, handle: object, value: float) -> None:
        """Tell the study, or add a trial to it."""
        if handle is not None:
            self._study.tell(handle, value)
            return
        trial = self._optuna.trial.create_trial(
            params=dict(configuration), distributions=self._ranges, value=value
        )
        self._study.add_trial(trial)

    def _range(self, parameter: Parameter) -> object:
        distributions = self._optuna.distributions
        if parameter.type is Type.CATEGORICAL:
            return distributions.CategoricalDistribution(parameter.values)
        if parameter.type is Type.INTEGER:
            return distributions.IntDistribution(
                int(parameter.lo), int(parameter.hi), log=parameter.log
            )
        return distributions.FloatDistribution(parameter.lo, parameter.hi, log=parameter.log)


class Tpe(_Sampler):
    """Ask Optuna's tree-structured Parzen estimator, multivariate."""

    def sampler(self, samplers: Any) -> object:
        """Make the sampler."""
        return samplers.TPESampler(multivariate=True, seed=self.seed)


class Gp(_Sampler):
    """Ask Optuna's Gaussian process."""

    def sampler(self, samplers: Any) -> object:
        """Make the sampler."""
        return samplers.GPSampler(seed=self.seed)
