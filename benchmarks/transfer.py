"""How much a search gains from an earlier one: warm start beside a cold start, in the same run.

Functions by formula of 2 to 6 dimensions. An earlier search of 30 trials by the same optimiser, then
a new one of 40 that learns from it. The earlier one was of

- *same*: the same objective, and declared to be;
- *related*: the objective moved by 0.07 of each range, times 3, plus 5;
- *negated*: minus the objective, so that its best configurations are the worst ones;
- *noise*: standard normal values that have to do with nothing.

Regret is the best value so far less the optimum, over the median of random configurations less the
optimum; means over the seeds. The ratio of warm to cold is given of the arithmetic mean over the
functions, which the hard ones decide, and as the geometric mean of each one's own, where 0.0001 is
added to each regret.

    .venv/bin/python -m benchmarks.transfer [--seeds 12] [--report FILE]
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.optimizer.space import real
from benchmarks.optimizer.tasks.formulas import formula
from benchmarks.optimizer.tasks.task import Half, Kind, Source, Task
from benchmarks.shared.report import save
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space import Configuration, Continuous, Scaling, SearchSpace
from tunesmith_core.transfer import Experience

F64: TypeAlias = NDArray[np.float64]
Value: TypeAlias = Callable[[F64], float]
"""Of a point (d,) in the unit cube."""

PARENT_TRIALS: Final = 30
AFTER: Final = (10, 25, 40)
KINDS: Final = ("same", "related", "negated", "noise")
MAX_SEEDS: Final = 100
_SMALLEST: Final = 1e-4
_RANDOM: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Hold what is minimised.

    Attributes:
        name: With the number of dimensions.
        dimensions: Of its unit cube.
        value: Of a point.
        optimum: The least value.
        typical: The median over the cube.
    """

    name: str
    dimensions: int
    value: Value
    optimum: float
    typical: float

    def regret(self, value: float) -> float:
        """Give how far a value is from the optimum, where a random one is at 1."""
        return (value - self.optimum) / (self.typical - self.optimum)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=12, help=f"at most {MAX_SEEDS}")
    parser.add_argument("--report", type=Path, help="a JSON file to write the figures to")
    arguments = parser.parse_args()
    seeds = range(min(arguments.seeds, MAX_SEEDS))
    functions = [
        _function("branin", ((-5, 10), (0, 15))),
        _made("rosenbrock3", 3, _rosenbrock, 0.0),
        _function("ackley", ((-15, 15),) * 4),
        _function("hartmann", ((0, 1),) * 6),
    ]
    regrets: dict[str, list[F64]] = {kind: [] for kind in ("cold", *KINDS)}
    for function in functions:
        print(f"{function.name}: mean normalised regret after", *AFTER)
        for kind, rows in regrets.items():
            rows.append(np.mean([_regrets(function, kind, seed) for seed in seeds], axis=0))
            print(f"  {kind:8}", *(f"{regret:.4f}" for regret in rows[-1]), flush=True)
    print_ratios(regrets)
    if arguments.report:
        save(
            arguments.report,
            seeds=len(seeds),
            after=AFTER,
            functions=[function.name for function in functions],
            regrets={kind: [row.tolist() for row in rows] for kind, rows in regrets.items()},
        )


def print_ratios(regrets: dict[str, list[F64]]) -> None:
    """Print what remains of the regret, by kind of the earlier search."""
    cold = np.array(regrets["cold"])
    print("| earlier search of | warm / cold, arithmetic, after", *AFTER, "| geometric |")
    print("|---|---|---|")
    for kind in KINDS:
        warm = np.array(regrets[kind])
        arithmetic = warm.mean(axis=0) / cold.mean(axis=0)
        geometric = np.exp(np.log((warm + _SMALLEST) / (cold + _SMALLEST)).mean(axis=0))
        columns = [" / ".join(f"{ratio:.2f}" for ratio in each) for each in (arithmetic, geometric)]
        print(f"| {kind} | {columns[0]} | {columns[1]} |")


def _regrets(function: Function, kind: str, seed: int) -> F64:
    """Give the regrets after some trials of one search."""
    experience = None
    if kind != "cold":
        earlier = _search(
            function.dimensions, _earlier(function, kind), MAX_SEEDS + seed, PARENT_TRIALS
        )
        experience = Experience(searches=[earlier], same_objective=kind == "same")
    results = _search(function.dimensions, function.value, seed, AFTER[-1], experience)
    best = np.minimum.accumulate([value for _, value in results])
    return np.array([function.regret(float(best[after - 1])) for after in AFTER])


def _earlier(function: Function, kind: str) -> Value:
    value = function.value
    match kind:
        case "same":
            return value
        case "related":
            return lambda x: 3 * value(np.clip(x + 0.07, 0, 1)) + 5
        case "negated":
            return lambda x: -value(x)
        case _:
            return _noise


def _noise(x: F64) -> float:
    return float(np.random.default_rng(zlib.crc32(x.tobytes())).standard_normal())


def _search(
    dimensions: int, value: Value, seed: int, trials: int, experience: Experience | None = None
) -> list[tuple[Configuration, float]]:
    """Search a unit cube, and give the results in order."""
    names = [f"x{number}" for number in range(dimensions)]
    space = SearchSpace(
        tuple(Continuous(name=name, lo=0, hi=1, scaling=Scaling.LINEAR) for name in names)
    )
    optimizer = Optimizer(space, seed=seed, experience=experience)
    results = []
    for _ in range(trials):
        (configuration,) = optimizer.ask()
        found = value(np.array([float(configuration[name]) for name in names]))
        optimizer.tell(configuration, found)
        results.append((configuration, found))
    return results


def _function(name: str, ranges: tuple[tuple[float, float], ...]) -> Function:
    """Make a function of the benchmark's, in so many dimensions, one of the unit cube."""
    dimensions = len(ranges)
    task = Task(
        name=f"{name}{dimensions}",
        kind=Kind.SMOOTH,
        half=Half.TUNING,
        source=Source.FORMULA,
        settings={"function": name},
        space=tuple(real(f"x{j}", lo, hi) for j, (lo, hi) in enumerate(ranges)),
    )
    objective = formula(task)
    if objective.optimum is None:
        raise ValueError(f"the optimum of {name} is not known")
    low, high = np.array(ranges).T

    def value(x: F64) -> float:
        configuration = {f"x{j}": float(each) for j, each in enumerate(low + (high - low) * x)}
        return objective.evaluate(configuration, 0).mean

    return _made(task.name, dimensions, value, objective.optimum)


def _made(name: str, dimensions: int, value: Value, optimum: float) -> Function:
    points = np.random.default_rng(1).random((_RANDOM, dimensions))
    typical = float(np.median([value(x) for x in points]))
    return Function(name=name, dimensions=dimensions, value=value, optimum=optimum, typical=typical)


def _rosenbrock(x: F64) -> float:
    z = 4 * x - 2
    return float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())


if __name__ == "__main__":
    main()
