"""Compare methods by what they had found after so many evaluations.

Ranks are given within each task and seed, 1 for the least value, ties sharing their average; a mean
rank is over seeds and then over tasks. Regret is normalised: 0 at the optimum, or at the least value
that any method ever recorded where the optimum is not known; 1 at the median of random search's
values, so that scales do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.optimizer.records import Record
from benchmarks.optimizer.tasks.task import Task

F64: TypeAlias = NDArray[np.float64]
#: A task's name and a seed.
Run: TypeAlias = tuple[str, int]

CHECKPOINTS = (25, 50, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Hold what makes a task's values regrets.

    Attributes:
        least: The optimum, or the least value known.
        typical: The median of random search's values.
    """

    least: float
    typical: float

    @property
    def width(self) -> float:
        """Give what a regret of 1 is in the value's unit; above 0."""
        return max(self.typical - self.least, 1e-300)

    def regret(self, values: F64) -> F64:
        """Normalise values."""
        normalised: F64 = np.maximum(values - self.least, 0) / self.width
        return normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Hold methods' trajectories on the runs that all of them have.

    Attributes:
        labels: The methods, or variants.
        runs: Tasks and seeds, m of them.
        best: (methods, m, evaluations) best values so far.
    """

    labels: tuple[str, ...]
    runs: tuple[Run, ...]
    best: F64

    def ranks(self, evaluations: int) -> F64:
        """Rank after so many evaluations.

        Returns:
            (methods, m) ranks from 1.
        """
        values = self.best[:, :, evaluations - 1]
        below = (values[None, :, :] < values[:, None, :]).sum(axis=1)
        equal = (values[None, :, :] == values[:, None, :]).sum(axis=1)
        ranks: F64 = below + (equal + 1) / 2
        return ranks

    def by_task(self, numbers: F64, tasks: Sequence[str]) -> F64:
        """Average (methods, m) numbers over seeds.

        Returns:
            (methods, tasks) means.
        """
        names = np.array([task for task, _ in self.runs])
        return np.column_stack([numbers[:, names == task].mean(axis=1) for task in tasks])

    def regrets(self, scales: Mapping[str, Scale]) -> F64:
        """Normalise.

        Returns:
            (methods, m, evaluations) regrets.
        """
        columns = [
            scales[task].regret(self.best[:, index, :]) for index, (task, _) in enumerate(self.runs)
        ]
        return np.stack(columns, axis=1)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Give the tasks' names, each once."""
        return tuple(dict.fromkeys(task for task, _ in self.runs))


def compare(records: Mapping[str, Mapping[Run, Record]], labels: Sequence[str]) -> Comparison:
    """Compare methods on the tasks and seeds that all of them have."""
    common = set.intersection(*(set(records[label]) for label in labels))
    runs = tuple(run for run in records[labels[0]] if run in common)
    length = max(CHECKPOINTS)
    best = np.array([[records[label][run].best()[:length] for run in runs] for label in labels])
    return Comparison(labels=tuple(labels), runs=runs, best=best.reshape(len(labels), -1, length))


def by_run(records: Iterable[Record], tasks: Iterable[Task]) -> dict[Run, Record]:
    """Arrange one method's records: those of the tasks that are long enough; the last one counts."""
    names = {task.name for task in tasks}
    return {
        (record.task, record.seed): record
        for record in sorted(records, key=lambda each: (each.seed, each.task))
        if record.task in names and len(record.values) >= max(CHECKPOINTS)
    }


def scales(
    records: Mapping[str, Mapping[Run, Record]], optima: Mapping[str, float | None]
) -> dict[str, Scale]:
    """Find each task's scale, over all methods and seeds recorded."""
    found: dict[str, Scale] = {}
    for task, optimum in optima.items():
        runs = {
            label: [record for run, record in each.items() if run[0] == task]
            for label, each in records.items()
        }
        values = {
            label: [value for record in each for value in record.means or record.values]
            for label, each in runs.items()
        }
        pooled = [value for each in values.values() for value in each]
        if not pooled:
            continue
        least = min(pooled) if optimum is None else optimum
        typical = float(np.median(values.get("random") or pooled))
        found[task] = Scale(least=least, typical=typical)
    return found
