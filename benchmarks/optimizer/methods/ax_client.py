"""Adapt Ax: its client with its defaults, one trial at a time."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib import import_module

from benchmarks.optimizer.methods.method import Peer
from benchmarks.optimizer.space import Configuration, Parameter, Type, Value


class AxClient(Peer):
    """Ask and tell a client."""

    def __init__(self, space: Sequence[Parameter], *, seed: int, evaluations: int) -> None:
        super().__init__(space, seed=seed, evaluations=evaluations)
        warnings.simplefilter("ignore")
        client = import_module("ax.api.client")
        self._configs = import_module("ax.api.configs")
        logging.disable(logging.WARNING)
        import_module("torch").manual_seed(seed)
        self._client = client.Client(random_seed=seed)
        self._client.configure_experiment(parameters=[self._range(each) for each in self.space])
        self._client.configure_optimization(objective="-loss")

    def suggest(self) -> tuple[dict[str, Value], object]:
        """Ask for one trial."""
        ((index, parameters),) = self._client.get_next_trials(max_trials=1).items()
        return {each.name: parameters[each.name] for each in self.space}, int(index)

    def observe(self, configuration: Configuration, handle: object, value: float) -> None:
        """Complete a trial."""
        index = handle if handle is not None else self._client.attach_trial(dict(configuration))
        self._client.complete_trial(index, raw_data={"loss": value})

    def _range(self, parameter: Parameter) -> object:
        if parameter.type is Type.CATEGORICAL:
            return self._configs.ChoiceParameterConfig(
                name=parameter.name,
                values=list(parameter.values),
                parameter_type="str",
                is_ordered=False,
            )
        integer = parameter.type is Type.INTEGER
        bounds = (parameter.lo, parameter.hi)
        return self._configs.RangeParameterConfig(
            name=parameter.name,
            bounds=(int(bounds[0]), int(bounds[1])) if integer else bounds,
            parameter_type="int" if integer else "float",
            scaling="log" if parameter.log else "linear",
        )
