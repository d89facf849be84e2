"""Adapt SMAC3's facade for hyperparameters: a random forest with log-EI, refitted every 8 tells.

Its Sobol design takes up to a quarter of the evaluations, as is its default.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.optimizer.methods.method import Peer
from benchmarks.optimizer.space import Configuration, Parameter, Type, Value

#: What SMAC passes to a target that it is told is deterministic.
SEED_OF_TRIALS = 0


class SmacHpo(Peer):
    """Ask and tell a facade."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        super().__init__(space, seed=seed, evaluations=evaluations)
        warnings.simplefilter("ignore")
        self._smac = import_module("smac")
        self._spaces = import_module("ConfigSpace")
        self._dataclasses = import_module("smac.runhistory.dataclasses")
        self._folder = tempfile.TemporaryDirectory()
        self._space = self._spaces.ConfigurationSpace(seed=seed)
        self._space.add([self._range(each) for each in self.space])
        scenario = self._smac.Scenario(
            self._space,
            deterministic=True,
            n_trials=evaluations,
            seed=seed,
            output_directory=Path(self._folder.name),
        )
        facade = self._smac.HyperparameterOptimizationFacade
        self._facade = facade(
            scenario,
            None,
            intensifier=facade.get_intensifier(scenario, max_config_calls=1),
            overwrite=True,
            logging_level=50,
        )

    def suggest(self) -> tuple[dict[str, Value], object]:
        """Ask for one trial."""
        info = self._facade.ask()
        return {each.name: self._plain(each, info.config[each.name]) for each in self.space}, info

    def observe(self, configuration: Configuration, handle: object, value: float) -> None:
        """Tell a trial."""
        info = handle
        if info is None:
            known = self._spaces.Configuration(self._space, values=dict(configuration))
            info = self._dataclasses.TrialInfo(known, seed=SEED_OF_TRIALS)
        self._facade.tell(info, self._dataclasses.TrialValue(cost=value), save=False)

    def _range(self, parameter: Parameter) -> object:
        if parameter.type is Type.CATEGORICAL:
            return self._spaces.Categorical(parameter.name, list(parameter.values))
        if parameter.type is Type.INTEGER:
            whole = (int(parameter.lo), int(parameter.hi))
            return self._spaces.Integer(parameter.name, whole, log=parameter.log)
        bounds = (parameter.lo, parameter.hi)
        return self._spaces.Float(parameter.name, bounds, log=parameter.log)

    def _plain(self, parameter: Parameter, value: object) -> Value:
        """Make a numpy scalar a value."""
        text = str(value)
        if parameter.type is Type.CATEGORICAL:
            return text
        return int(text) if parameter.type is Type.INTEGER else float(text)
