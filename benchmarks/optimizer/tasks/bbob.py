"""Evaluate functions of the BBOB suite, in `ioh`'s implementation.

Source: Hansen, Finck, Ros & Auger (2009), Real-Parameter Black-Box Optimization Benchmarking.
"""

from __future__ import annotations

from importlib import import_module

from benchmarks.optimizer.space import Configuration
from benchmarks.optimizer.tasks.task import Evaluation, Objective, Task


def bbob(task: Task) -> Objective:
    """Make the objective of a task whose source is BBOB."""
    ioh = import_module("ioh")
    problem = ioh.get_problem(
        int(task.settings["function"]),
        int(task.settings["instance"]),
        len(task.space),
        ioh.ProblemClass.BBOB,
    )

    def evaluate(configuration: Configuration, _seed: int) -> Evaluation:
        value = float(problem([float(configuration[each.name]) for each in task.space]))
        return Evaluation(value=value, mean=value)

    return Objective(evaluate=evaluate, optimum=float(problem.optimum.y))
