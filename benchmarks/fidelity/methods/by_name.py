"""Make methods by name; a library is imported when its method is made."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from benchmarks.fidelity.methods.method import Make, Method
from benchmarks.fidelity.pools import Pool


class Source(NamedTuple):
    """Say where a method is.

    Attributes:
        environment: In which it runs, as `benchmarks/optimizer/environments.toml` names it.
        module: Of this folder.
        attribute: What makes the method.
    """

    environment: str
    module: str
    attribute: str


METHODS = {
    "random": Source("tunesmith", "random_order", "RandomOrder"),
    "halving": Source("tunesmith", "halving", "Halving"),
    "model": Source("tunesmith", "model", "Model"),
    "halving-eta3": Source("tunesmith", "halving", "eta3"),
    "halving-eta3-tenth": Source("tunesmith", "halving", "eta3_tenth"),
    "halving-eta3-first": Source("tunesmith", "halving", "eta3_first"),
    "optuna-tpe": Source("optuna", "optuna_hyperband", "tpe"),
    "optuna-random": Source("optuna", "optuna_hyperband", "random"),
    "syne-tune-asha": Source("syne-tune", "syne_tune_asha", "Asha"),
    "syne-tune-asha-30th": Source("syne-tune", "syne_tune_asha", "from_30th"),
}


def environment_name(method: str) -> str:
    """Give the name of the environment that a method runs in.

    Raises:
        SystemExit: There is no such method.
    """
    if method not in METHODS:
        raise SystemExit(f"there is no method {method}; there are {', '.join(METHODS)}")
    return METHODS[method].environment


def make_method(name: str, pool: Pool, *, seed: int) -> Method:
    """Make a method for one replay.

    Raises:
        KeyError: There is none of that name.
        ImportError: Its library is not in this environment.
    """
    _, module, attribute = METHODS[name]
    make: Make = getattr(import_module(f"benchmarks.fidelity.methods.{module}"), attribute)
    return make(pool, seed=seed)
