"""Small spaces and cheap objectives, and how to search them, for tests of whole searches."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from tunesmith_core.optimizer import Optimizer
from tunesmith_core.portfolio import Choice, Portfolio
from tunesmith_core.space import Categorical, Configuration, Continuous, Integer, SearchSpace
from tunesmith_core.transfer import Result

Objective: TypeAlias = Callable[[Configuration], float | None]

SQUARE = SearchSpace((Continuous(name="x", lo=0, hi=1), Continuous(name="y", lo=0, hi=1)))
LETTERS = SearchSpace((Categorical(name="letter", values=tuple("abcdefghijkl")),))


def cube(dimensions: int) -> SearchSpace:
    """Make a space of so many numbers in [0, 1]: x0, x1 and so on."""
    return SearchSpace(
        tuple(Continuous(name=f"x{number}", lo=0, hi=1) for number in range(dimensions))
    )


def integers(count: int) -> SearchSpace:
    """Make a space of so many configurations."""
    return SearchSpace((Integer(name="n", lo=1, hi=count),))


def bowl(configuration: Configuration) -> float:
    """Be least, 0, at (0.3, 0.6)."""
    return (float(configuration["x"]) - 0.3) ** 2 + (float(configuration["y"]) - 0.6) ** 2


def hills(configuration: Configuration) -> float:
    """Have several valleys, the least of about -0.95, in any number of dimensions."""
    x = np.array([float(value) for value in configuration.values()])
    return float(((x - 0.3) ** 2 - 0.25 * np.cos(9 * (x - 0.7))).sum())


def search(optimizer: Optimizer, objective: Objective, trials: int) -> list[Result]:
    """Ask and tell so many times, and give what came of it."""
    results: list[Result] = []
    for _ in range(trials):
        (configuration,) = optimizer.ask()
        value = objective(configuration)
        optimizer.tell(configuration, value)
        results.append((configuration, value))
    return results


def spend(
    portfolio: Portfolio, objectives: Mapping[str | None, Objective], trials: int
) -> list[tuple[Choice, float | None]]:
    """Ask a portfolio and tell its optimisers so many times, and give what came of it."""
    history = []
    for _ in range(trials):
        (choice,) = portfolio.ask()
        name, configuration = choice
        value = objectives[name](configuration)
        portfolio.optimizers[name].tell(configuration, value)
        history.append((choice, value))
    return history


def least(results: Sequence[Result]) -> float:
    """Give the best value, minimised."""
    return min(value for _, value in results if value is not None and math.isfinite(value))
