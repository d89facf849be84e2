"""Read the recorded training runs that methods draw from.

Two kinds of records, in one folder:

- ``alexnet_imagenet.jsonl.gz``: top-1 accuracy by epoch; budgets in run-hours. The number of epochs is
  a hyperparameter, so that each run has a full resource of its own. Runs without a curve are left out.
  (Lourie, OPDA, CC BY-SA 4.0)
- ``taskset_*.npz``: validation loss, 51 values each; budgets in values. Regret is in units of the
  median run's final one. (Metz et al. 2020, TaskSet, Apache-2.0)

The ranges are those that the runs were drawn from, and so is their scaling: the runs fill the unit
cube evenly. Only the peak of AlexNet's learning rate does not, which was drawn as a share of the epochs.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.optimizer.space import (
    Configuration,
    Parameter,
    Scaling,
    Value,
    real,
    value_to_unit,
    whole,
)

F64: TypeAlias = NDArray[np.float64]

HOURS: Final = (72.0, 200.0)
VALUES: Final = (1530.0, 3060.0)

ALEXNET: Final = (
    whole("epochs", 20, 100),
    whole("batch_size", 128, 1024, log=True),
    real("lr", 5e-3, 50.0, log=True),
    whole("lr_peak_epoch", 0, 80),
    real("momentum", 0.7, 1.0),
    real("weight_decay", 1e-6, 1e-3, log=True),
    real("label_smoothing", 0.0, 0.5),
)
TASKSET: Final = (
    real("learning_rate", 1e-8, 10.0, log=True),
    real("beta1", 0.0, 0.9999, Scaling.REVERSE_LOGARITHMIC),
    real("beta2", 0.0, 0.999999, Scaling.REVERSE_LOGARITHMIC),
    real("epsilon", 1e-10, 1e3, log=True),
    real("l1", 1e-8, 10.0, log=True),
    real("l2", 1e-8, 10.0, log=True),
    real("linear_decay", 1e-7, 1e-4, log=True),
    real("exponential_decay", 1e-6, 1e-3, log=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold a recorded run.

    Attributes:
        configuration: Its hyperparameters, as users see them.
        values: What it emitted, lower is better; infinite where it had diverged.
        costs: What each value cost, in the unit of the budgets.
        full: How many values it was to emit.
    """

    configuration: Configuration
    values: Sequence[float]
    costs: Sequence[float]
    full: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Hold the recorded runs of one task.

    Attributes:
        name: Of the task.
        kind: Which data the task is of.
        parameters: The search space, d ranges.
        runs: The n runs.
        points: (n, d) the runs' configurations in the unit cube.
        budgets: At which the regret is read, rising.
        unit: What a regret of 1 is.
        longest: The longest run's number of values, which is ``max_resource``.
    """

    name: str
    kind: str
    parameters: Sequence[Parameter]
    runs: Sequence[Run]
    points: F64
    budgets: Sequence[float]
    unit: float
    longest: int

    @property
    def lowest(self) -> float:
        """Give the best value of the whole pool."""
        return min(value for run in self.runs for value in run.values)


def read_pools(folder: Path) -> list[Pool]:
    """Read all tasks of a folder."""
    return [*alexnet(folder), *taskset(folder)]


def alexnet(folder: Path) -> list[Pool]:
    """Read the runs of AlexNet; accuracy is turned round."""
    runs = []
    with gzip.open(folder / "alexnet_imagenet.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            curve = record["learning_curve"]
            if curve:
                times = [0.0, *(point["time"] / 3600.0 for point in curve)]
                runs.append(
                    Run(
                        configuration=_configuration(ALEXNET, record),
                        values=[-point["top_1"] for point in curve],
                        costs=np.diff(times).tolist(),
                        full=record["epochs"],
                    )
                )
    return [
        _pool(
            name="alexnet", kind="alexnet", parameters=ALEXNET, runs=runs, budgets=HOURS, unit=1.0
        )
    ]


def taskset(folder: Path) -> list[Pool]:
    """Read the tasks of TaskSet; values that are not finite are divergences."""
    pools = []
    for path in sorted(folder.glob("taskset_*.npz")):
        with np.load(path) as arrays:
            losses = arrays["valid_loss"]
            names = [str(name) for name in arrays["names"]]
            hyperparameters = arrays["hyperparameters"].tolist()
        final = losses[:, -1]
        lowest = float(np.nanmin(np.where(np.isfinite(losses), losses, np.nan)))
        unit = float(np.median(final[np.isfinite(final)])) - lowest
        length = losses.shape[1]
        runs = [
            Run(
                configuration=_configuration(TASKSET, dict(zip(names, values, strict=True))),
                values=_finite(row),
                costs=[1.0] * length,
                full=length,
            )
            for values, row in zip(hyperparameters, losses.tolist(), strict=True)
        ]
        pools.append(
            _pool(
                name=path.stem,
                kind="taskset",
                parameters=TASKSET,
                runs=runs,
                budgets=VALUES,
                unit=unit,
            )
        )
    return pools


def _pool(
    *,
    name: str,
    kind: str,
    parameters: Sequence[Parameter],
    runs: Sequence[Run],
    budgets: Sequence[float],
    unit: float,
) -> Pool:
    points = [
        [value_to_unit(each, run.configuration[each.name]) for each in parameters] for run in runs
    ]
    return Pool(
        name=name,
        kind=kind,
        parameters=parameters,
        runs=runs,
        points=np.array(points),
        budgets=budgets,
        unit=unit,
        longest=max(run.full for run in runs),
    )


def _configuration(
    parameters: Sequence[Parameter], record: Mapping[str, Value]
) -> dict[str, Value]:
    return {each.name: record[each.name] for each in parameters}


def _finite(values: Iterable[float]) -> list[float]:
    return [value if math.isfinite(value) else math.inf for value in values]
