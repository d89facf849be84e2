"""Make methods by name; a library is imported when its method is made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from benchmarks.optimizer.methods.method import Method
from benchmarks.optimizer.space import Parameter

#: Where each method is: module and class.
METHODS = {
    "random": ("random_search", "RandomSearch"),
    "optuna-tpe": ("optuna_samplers", "Tpe"),
    "optuna-gp": ("optuna_samplers", "Gp"),
    "botorch-logei": ("botorch_logei", "BotorchLogEi"),
    "ax": ("ax_client", "AxClient"),
    "smac-hpo": ("smac_facade", "SmacHpo"),
    "hebo": ("hebo_optimizer", "Hebo"),
    "vizier-ucbpe": ("vizier_designer", "VizierUcbPe"),
    "ours": ("ours", "Ours"),
}


def make_method(
    name: str, space: Sequence[Parameter], *, seed: int, evaluations: int = 100
) -> Method:
    """Make a method for one run.

    Raises:
        KeyError: There is none of that name.
        ImportError: Its library is not in this environment.
    """
    module, attribute = METHODS[name]
    adapter = getattr(import_module(f"benchmarks.optimizer.methods.{module}"), attribute)
    method: Method = adapter(space, seed=seed, evaluations=evaluations)
    return method
