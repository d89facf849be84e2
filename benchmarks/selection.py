"""How a budget is divided among several algorithms: the best one's share of it, and what is found.

Sets of algorithms by formula, each with a search space of its own, and 60 trials for all of them.
`Portfolio` beside, in the same run, an even division of the trials, and a search that knows which
algorithm is the best and gives it all trials. The sets:

- *apart*: three bowls whose lowest values differ much;
- *alike*: three bowls whose lowest values differ by a tenth of what random values differ by;
- *misleading*: one that is good at once and hardly becomes better, beside a valley that is bad at
  first and good at its end;
- *eight*: eight bowls, of which one is the best, and a flat one is among them.

Regret is the best value of any algorithm less the lowest of all, over the median of random
configurations of all algorithms less that; means over the seeds.

    .venv/bin/python -m benchmarks.selection [--seeds 12] [--report FILE]
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.shared.report import save
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.portfolio import Portfolio
from tunesmith_core.space import Configuration, Continuous, Scaling, SearchSpace

F64: TypeAlias = NDArray[np.float64]

TRIALS: Final = 60
MAX_SEEDS: Final = 100
_RANDOM: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """Hold what one definition is.

    Attributes:
        name: Unique in its set.
        dimensions: Of its unit cube.
        value: Of a point (d,).
        lowest: The least value.
    """

    name: str
    dimensions: int
    value: Callable[[F64], float]
    lowest: float

    def optimizer(self, seed: int) -> Optimizer:
        """Make a search of it."""
        parameters = tuple(
            Continuous(name=f"x{number}", lo=0, hi=1, scaling=Scaling.LINEAR)
            for number in range(self.dimensions)
        )
        return Optimizer(SearchSpace(parameters), seed=seed)

    def evaluate(self, configuration: Configuration) -> float:
        """Give what comes of a configuration."""
        return self.value(
            np.array([float(configuration[f"x{number}"]) for number in range(self.dimensions)])
        )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=12, help=f"at most {MAX_SEEDS}")
    parser.add_argument("--report", type=Path, help="a JSON file to write the figures to")
    arguments = parser.parse_args()
    seeds = range(min(arguments.seeds, MAX_SEEDS))
    print("| set | best one's share: portfolio | evenly | regret: portfolio | evenly | known |")
    print("|---|---|---|---|---|---|")
    figures = {}
    for name, algorithms in _sets().items():
        rows = np.array([_measured(algorithms, seed) for seed in seeds])
        figures[name] = rows.tolist()
        share, portfolio, evenly, known = rows.mean(axis=0)
        print(
            f"| {name} | {share:.0%} (least {rows[:, 0].min():.0%}) | {1 / len(algorithms):.0%} |",
            f"{portfolio:.4f} | {evenly:.4f} | {known:.4f} |",
            flush=True,
        )
    if arguments.report:
        save(
            arguments.report,
            seeds=len(seeds),
            trials=TRIALS,
            columns=["share of the best", "regret", "regret evenly", "regret known"],
            figures=figures,
        )


def _measured(algorithms: Sequence[Algorithm], seed: int) -> tuple[float, float, float, float]:
    """Give the best one's share, and the regrets of the portfolio, evenly, and with it known."""
    by_name: dict[str | None, Algorithm] = {each.name: each for each in algorithms}
    best = min(algorithms, key=lambda each: each.lowest)
    rng = np.random.default_rng(1)
    random = [each.value(x) for each in algorithms for x in rng.random((_RANDOM, each.dimensions))]
    typical = float(np.median(random))

    def regret(value: float) -> float:
        return (value - best.lowest) / (typical - best.lowest)

    counts, found = _by_portfolio(by_name, seed)
    each_has, more = divmod(TRIALS, len(algorithms))
    evenly = [
        _alone(algorithm, seed, each_has + (number < more))
        for number, algorithm in enumerate(algorithms)
    ]
    return (
        counts[best.name] / TRIALS,
        regret(found),
        regret(min(evenly)),
        regret(_alone(best, seed, TRIALS)),
    )


def _by_portfolio(
    algorithms: Mapping[str | None, Algorithm], seed: int
) -> tuple[dict[str | None, int], float]:
    """Give how many trials each algorithm had, and the best value."""
    portfolio = Portfolio({name: each.optimizer(seed) for name, each in algorithms.items()})
    counts, values = dict.fromkeys(algorithms, 0), []
    for _ in range(TRIALS):
        ((name, configuration),) = portfolio.ask()
        values.append(algorithms[name].evaluate(configuration))
        portfolio.optimizers[name].tell(configuration, values[-1])
        counts[name] += 1
    return counts, min(values)


def _alone(algorithm: Algorithm, seed: int, trials: int) -> float:
    """Give the best value of so many trials of one algorithm."""
    optimizer, values = algorithm.optimizer(seed), []
    for _ in range(trials):
        (configuration,) = optimizer.ask()
        values.append(algorithm.evaluate(configuration))
        optimizer.tell(configuration, values[-1])
    return min(values)


def _sets() -> dict[str, list[Algorithm]]:
    depths = (0.5, 0.3, 0.8, 0.1, 0.6, 0.4, 0.7)
    return {
        "apart": [_bowl("a", 2, 0.5), _bowl("b", 3, 0.1), _bowl("c", 4, 0.3)],
        "alike": [_bowl("a", 3, 0.10), _bowl("b", 3, 0.12), _bowl("c", 3, 0.14)],
        "misleading": [_flat("early", 2, 0.3, 0.2), _valley("late", 0.1), _bowl("bowl", 2, 0.4)],
        "eight": [
            *(_bowl(f"bowl{depth}", 3, depth) for depth in depths),
            _flat("flat", 3, 0.2, 0.01),
        ],
    }


def _bowl(name: str, dimensions: int, lowest: float) -> Algorithm:
    """Make a bowl whose lowest place is drawn from its name."""
    place = np.random.default_rng(zlib.crc32(name.encode())).uniform(0.1, 0.9, size=dimensions)
    return Algorithm(
        name=name,
        dimensions=dimensions,
        value=lambda x: lowest + float(((x - place) ** 2).sum()),
        lowest=lowest,
    )


def _flat(name: str, dimensions: int, lowest: float, swing: float) -> Algorithm:
    """Make waves between the lowest value and twice the swing above it."""
    return Algorithm(
        name=name,
        dimensions=dimensions,
        value=lambda x: lowest + swing * (1 + float(np.cos(9 * x + 1).mean())),
        lowest=lowest,
    )


def _valley(name: str, lowest: float) -> Algorithm:
    """Make Rosenbrock's valley in three dimensions, drawn together so that it is a slow one."""

    def value(x: F64) -> float:
        z = 4 * x - 2
        depth = float((100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum())
        return lowest + 0.1 * float(np.log1p(depth))

    return Algorithm(name=name, dimensions=3, value=value, lowest=lowest)


if __name__ == "__main__":
    main()
