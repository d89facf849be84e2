"""Evaluate classic test functions, and three made up for categories, by formula.

Where the textbook's optimum lies in the middle of the ranges, or at equal coordinates, the function
is moved: `_moved` draws the place once, from the function's name. Sources: Surjanovic & Bingham,
Virtual Library of Simulation Experiments, for all but `catalogue30`, `recipe30` and `workshop12`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.optimizer.space import Configuration
from benchmarks.optimizer.tasks.task import Evaluation, Objective, Task

F64: TypeAlias = NDArray[np.float64]


def formula(task: Task) -> Objective:
    """Make the objective of a task whose source is a formula."""
    function, optimum = _FUNCTIONS[str(task.settings["function"])](task)

    def evaluate(configuration: Configuration, seed: int) -> Evaluation:
        mean = function(configuration)
        noise = task.noise * np.random.default_rng(seed).standard_normal() if task.noise else 0.0
        return Evaluation(value=mean + noise, mean=mean)

    return Objective(evaluate=evaluate, optimum=optimum)


_Function: TypeAlias = tuple[Callable[[Configuration], float], float | None]


def _branin(_task: Task) -> _Function:
    def value(configuration: Configuration) -> float:
        x, y = float(configuration["x0"]), float(configuration["x1"])
        b, c, t = 5.1 / (4 * math.pi**2), 5 / math.pi, 1 / (8 * math.pi)
        return float((y - b * x**2 + c * x - 6) ** 2 + 10 * (1 - t) * math.cos(x) + 10)

    return value, 0.39788735772973816


def _hartmann(_task: Task) -> _Function:
    alpha = np.array([1.0, 1.2, 3.0, 3.2])
    scale = np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    )
    place = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )

    def value(configuration: Configuration) -> float:
        x = _reals(configuration)
        return -float(alpha @ np.exp(-(scale * (x - place) ** 2).sum(axis=1)))

    return value, -3.322368011415515


def _michalewicz(_task: Task) -> _Function:
    def value(configuration: Configuration) -> float:
        x = _reals(configuration)
        number = np.arange(1, len(x) + 1)
        return -float((np.sin(x) * np.sin(number * x**2 / math.pi) ** 20).sum())

    return value, -4.687658179088148


def _ackley(task: Task) -> _Function:
    def value(z: F64) -> float:
        ridge = -20 * math.exp(-0.2 * math.sqrt(float((z**2).mean())))
        return ridge - math.exp(float(np.cos(2 * math.pi * z).mean())) + 20 + math.e

    return _moved(task, value, at=0.0), 0.0


def _griewank(task: Task) -> _Function:
    def value(z: F64) -> float:
        waves = float(np.cos(z / np.sqrt(np.arange(1, len(z) + 1))).prod())
        return float((z**2).sum()) / 4000 - waves + 1

    return _moved(task, value, at=0.0), 0.0


def _rastrigin(task: Task) -> _Function:
    def value(z: F64) -> float:
        return float((z**2 - 10 * np.cos(2 * math.pi * z) + 10).sum())

    return _moved(task, value, at=0.0), 0.0


def _zakharov(task: Task) -> _Function:
    def value(z: F64) -> float:
        slope = float((0.5 * np.arange(1, len(z) + 1) * z).sum())
        return float((z**2).sum()) + slope**2 + slope**4

    return _moved(task, value, at=0.0), 0.0


def _styblinski_tang(task: Task) -> _Function:
    def value(z: F64) -> float:
        return float((z**4 - 16 * z**2 + 5 * z).sum()) / 2

    return _moved(task, value, at=-2.903534027771177), -39.166165703771412 * len(task.space)


def levy(z: F64) -> float:
    """Evaluate Levy's function, whose optimum is 0, at ones."""
    w = 1 + (z - 1) / 4
    first = math.sin(math.pi * float(w[0])) ** 2
    middle = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * float(w[-1])) ** 2)
    return first + float(middle.sum()) + float(last)


def _stepped_levy(task: Task) -> _Function:
    """Give Levy's function of four integers, two words and two reals, moved by whole numbers."""
    rng = _rng(task)
    away = np.concatenate([rng.integers(-7, 8, size=4), np.zeros(2), rng.uniform(-7, 7, size=2)])
    words = task.space[4].values
    levels = [dict(zip(words, rng.permutation([-8, -4, 1, 4, 8]), strict=True)) for _ in range(2)]

    def value(configuration: Configuration) -> float:
        numbers = [
            float(levels[index - 4][str(each)]) if index in (4, 5) else float(each)
            for index, each in enumerate(configuration.values())
        ]
        return levy(np.array(numbers) - away)

    return value, 0.0


def _catalogue30(task: Task) -> _Function:
    """Give a valley for each of 30 items, whose place and depth follow two hidden traits."""
    rng = _rng(task)
    traits = rng.uniform(size=(30, 2))
    wanted = rng.uniform(0.2, 0.8, size=2)
    depth = 4 * ((traits - wanted) ** 2).sum(axis=1)
    place = 0.2 + 0.6 * np.column_stack([traits, traits.mean(axis=1)])
    weights = np.array([4.0, 2.0, 1.0])
    items, grades = task.space[0].values, task.space[1].values
    penalty = np.array([0.0, 0.3, 0.15, 0.6])

    def value(configuration: Configuration) -> float:
        item = items.index(str(configuration["item"]))
        grade = grades.index(str(configuration["grade"]))
        x = np.array([float(configuration[f"x{number}"]) for number in range(3)])
        bowl = float(weights @ (x - place[item]) ** 2) * (1 + 0.5 * grade)
        return float(depth[item]) + bowl + float(penalty[grade])

    return value, float(depth.min())


def _recipe30(task: Task) -> _Function:
    """Give 30 unrelated bases, each with its own best amounts, and ripples in the heat."""
    rng = _rng(task)
    bases, methods = task.space[0].values, task.space[1].values
    price = rng.permutation(np.linspace(0, 2, 30))
    best_portions = rng.integers(2, 20, size=30)
    best_salt = rng.uniform(-3.5, -1.5, size=30)
    best_minutes = rng.uniform(1, 5, size=len(methods))
    best_heat = rng.uniform(0.1, 0.9, size=len(methods))
    fee = rng.permutation([0.0, 0.2, 0.4, 0.6, 0.8])

    def value(configuration: Configuration) -> float:
        base = bases.index(str(configuration["base"]))
        method = methods.index(str(configuration["method"]))
        portions = abs(float(configuration["portions"]) - float(best_portions[base])) / 10
        minutes = math.log(float(configuration["minutes"])) - float(best_minutes[method])
        salt = math.log10(float(configuration["salt"])) - float(best_salt[base])
        heat = float(configuration["heat"]) - float(best_heat[method])
        water = float(configuration["water"]) - 0.7 * float(configuration["heat"])
        ripple = 0.1 * (1 - math.cos(6 * math.pi * heat))
        cost = float(price[base]) + float(fee[method])
        return cost + portions + 0.2 * minutes**2 + abs(salt) + 4 * heat**2 + ripple + water**2

    return value, None


def _workshop12(task: Task) -> _Function:
    """Give costs of choices that add up, and amounts whose best depends on some of the choices."""
    rng = _rng(task)
    suppliers, processes, finishes = (task.space[index].values for index in range(3))
    price = rng.permutation(np.linspace(0, 1.5, len(suppliers)))
    fee = rng.permutation(np.linspace(0, 1, len(processes)))
    quality = rng.permutation([0.0, 0.1, 0.4])
    best_pieces = rng.integers(3, 38, size=len(suppliers))
    best_heat = rng.uniform(0.1, 0.9, size=len(processes))
    best_shifts = rng.integers(1, 8, size=len(processes))
    best_speed = rng.uniform(-2.5, -0.5)

    def value(configuration: Configuration) -> float:
        supplier = suppliers.index(str(configuration["supplier"]))
        process = processes.index(str(configuration["process"]))
        finish = finishes.index(str(configuration["finish"]))
        pieces = (float(configuration["pieces"]) - float(best_pieces[supplier])) / 20
        shifts = abs(float(configuration["shifts"]) - float(best_shifts[process])) / 4
        speed = math.log10(float(configuration["speed"])) - float(best_speed)
        heat = float(configuration["heat"]) - float(best_heat[process])
        pressure = float(configuration["pressure"]) - 0.5 * float(configuration["heat"]) - 0.3
        cost = float(price[supplier]) + float(fee[process]) + float(quality[finish])
        return cost + pieces**2 + 0.5 * shifts + speed**2 + 3 * heat**2 + abs(pressure)

    return value, None


def _moved(
    task: Task, function: Callable[[F64], float], *, at: float
) -> Callable[[Configuration], float]:
    """Move a function so that its optimum, which has all coordinates `at`, lies elsewhere."""
    lo = np.array([parameter.lo for parameter in task.space])
    hi = np.array([parameter.hi for parameter in task.space])
    optimum = lo + (hi - lo) * _rng(task).uniform(0.1, 0.9, size=len(lo))

    def value(configuration: Configuration) -> float:
        return function(_reals(configuration) - optimum + at)

    return value


def _reals(configuration: Configuration) -> F64:
    return np.array([float(value) for value in configuration.values()])


def _rng(task: Task) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(str(task.settings["function"]).encode()))


_FUNCTIONS: dict[str, Callable[[Task], _Function]] = {
    "ackley": _ackley,
    "branin": _branin,
    "catalogue30": _catalogue30,
    "griewank": _griewank,
    "hartmann": _hartmann,
    "michalewicz": _michalewicz,
    "rastrigin": _rastrigin,
    "recipe30": _recipe30,
    "stepped-levy": _stepped_levy,
    "styblinski-tang": _styblinski_tang,
    "workshop12": _workshop12,
    "zakharov": _zakharov,
}
