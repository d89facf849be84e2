"""Make the objective of a task: one source each, and the noise that all methods share."""

from __future__ import annotations

import zlib
from typing import assert_never

from benchmarks.optimizer.tasks.bbob import bbob
from benchmarks.optimizer.tasks.formulas import formula
from benchmarks.optimizer.tasks.models import model
from benchmarks.optimizer.tasks.tables import table
from benchmarks.optimizer.tasks.task import Objective, Source, Task


def objective(task: Task) -> Objective:
    """Make the objective of a task."""
    match task.source:
        case Source.FORMULA:
            return formula(task)
        case Source.BBOB:
            return bbob(task)
        case Source.MODEL:
            return model(task)
        case Source.TABLE:
            return table(task)
        case _:
            assert_never(task.source)


def noise_seed(task: Task, seed: int, number: int) -> int:
    """Seed the noise of evaluation `number` of the run with `seed`: the same for all methods."""
    return zlib.crc32(f"{task.name}/{seed}/{number}".encode())
