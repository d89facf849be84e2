"""Hyperband's rule replayed on recorded training runs: the regret that a budget leaves.

Runs are drawn without replacement from a pool of recorded ones, one at a time. The rule sees the
values as they come, and may stop a run, which costs what it has spent until then. Beside it every
run is taken to its end, which is random search. Regret is the best value of the whole pool less the
best that was seen, at the end of each budget; means over the seeds. A rule that stops early uses up
the pool first: how often is reported too.

Two kinds of records, in one folder:

- ``alexnet_imagenet.jsonl.gz``: top-1 accuracy by epoch; budgets in run-hours. The number of epochs is
  a hyperparameter, so that rungs are fractions of each run's own. Runs without a curve are left out.
  (Lourie, OPDA, CC BY-SA 4.0)
- ``taskset_*.npz``: validation loss, 51 values each; budgets in values. Regret is in units of the
  median run's final one. (Metz et al. 2020, TaskSet, Apache-2.0)

    .venv/bin/python -m benchmarks.halving --data DIR [--seeds 100] [--report FILE]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.shared.report import save
from tunesmith_core.stopping.halving import HalvingRule

#: As the server has it: one run of so many is not judged at the first rung.
BRACKET_EVERY: Final = 16
MAX_SEEDS: Final = 1000

_HOURS: Final = (72.0, 200.0)
_VALUES: Final = (1530.0, 3060.0)

#: Makes a rule, or none for random search.
Make = Callable[[], HalvingRule | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold a recorded run.

    Attributes:
        values: What it emitted, lower is better.
        costs: What each value cost, in the unit of the budgets.
        full: How many values it was to emit.
    """

    values: Sequence[float]
    costs: Sequence[float]
    full: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Hold the recorded runs of one task.

    Attributes:
        name: Of the task.
        runs: The runs.
        budgets: At which the regret is read, rising.
        unit: What a regret of 1 is.
        longest: The longest run's number of values, which is ``max_resource``.
    """

    name: str
    runs: Sequence[Run]
    budgets: Sequence[float]
    unit: float
    longest: int


def main() -> None:
    """Replay, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="the folder of the records")
    parser.add_argument("--seeds", type=int, default=100, help=f"at most {MAX_SEEDS}")
    parser.add_argument("--report", type=Path, help="a JSON file to write the figures to")
    arguments = parser.parse_args()
    if arguments.data is None:
        print("left out: it needs the records of training runs; name their folder with --data")
        return
    seeds = range(min(arguments.seeds, MAX_SEEDS))
    figures: dict[str, dict[str, object]] = {}
    print(f"mean regret over {len(seeds)} seeds, and how often the pool was used up")
    for pools in (alexnet(arguments.data), taskset(arguments.data)):
        name = pools[0].name.partition(" ")[0]
        for label, make in _variants(pools[0].longest).items():
            results = [replay(pool, make(), seed) for pool in pools for seed in seeds]
            regrets = np.mean([regret for regret, _ in results], axis=0)
            used_up = sum(is_used_up for _, is_used_up in results)
            told = ", ".join(
                f"{regret:.4f} at {budget:g}"
                for regret, budget in zip(regrets, pools[0].budgets, strict=True)
            )
            print(f"{name:10} {label:28} {told}; used up {used_up} of {len(results)}", flush=True)
            figures.setdefault(name, {})[label] = {
                "regret": regrets.tolist(),
                "used_up": used_up,
                "runs": len(results),
            }
    if arguments.report is not None:
        save(arguments.report, figures=figures, seeds=len(seeds))


def _variants(longest: int) -> dict[str, Make]:
    """Give what is compared: the server's own numbers, and those of the literature."""
    return {
        "random search": lambda: None,
        "as served": lambda: HalvingRule(maximise=False, max_resource=longest),
        "eta 3, first rung at 1/30": lambda: HalvingRule(
            maximise=False, max_resource=longest, eta=3.0
        ),
        "eta 3, first rung at 1/10": lambda: HalvingRule(
            maximise=False, max_resource=longest, min_resource=max(1, longest // 10), eta=3.0
        ),
        "eta 3, first rung at 1": lambda: HalvingRule(
            maximise=False, max_resource=longest, min_resource=1, eta=3.0
        ),
    }


def replay(pool: Pool, rule: HalvingRule | None, seed: int) -> tuple[list[float], bool]:
    """Draw runs until the budget is spent; give the regrets, and whether the pool was used up."""
    order = np.random.default_rng(seed).permutation(len(pool.runs)).tolist()
    best = math.inf
    spent = 0.0
    seen: list[float] = []
    lowest = min(value for run in pool.runs for value in run.values)
    for number, place in enumerate(order, start=1):
        run = pool.runs[place]
        if rule is not None:
            rule.begin(place, bracket=int(number % BRACKET_EVERY == 0), full=run.full)
        for resource, (value, cost) in enumerate(zip(run.values, run.costs, strict=True), start=1):
            spent += cost
            while len(seen) < len(pool.budgets) and spent > pool.budgets[len(seen)]:
                seen.append(best)
            best = min(best, value)
            if rule is not None and rule.report(place, value, resource=resource) is not None:
                break
        if len(seen) == len(pool.budgets):
            break
    is_used_up = len(seen) < len(pool.budgets)
    seen += [best] * (len(pool.budgets) - len(seen))
    return [(value - lowest) / pool.unit for value in seen], is_used_up


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
                        values=[-point["top_1"] for point in curve],
                        costs=np.diff(times).tolist(),
                        full=record["epochs"],
                    )
                )
    longest = max(run.full for run in runs)
    return [Pool(name="alexnet", runs=runs, budgets=_HOURS, unit=1.0, longest=longest)]


def taskset(folder: Path) -> list[Pool]:
    """Read the tasks of TaskSet; values that are not finite are divergences."""
    pools = []
    for path in sorted(folder.glob("taskset_*.npz")):
        with np.load(path) as arrays:
            losses = arrays["valid_loss"]
        final = losses[:, -1]
        lowest = float(np.nanmin(np.where(np.isfinite(losses), losses, np.nan)))
        unit = float(np.median(final[np.isfinite(final)])) - lowest
        length = losses.shape[1]
        runs = [
            Run(values=_finite(row), costs=[1.0] * length, full=length) for row in losses.tolist()
        ]
        pools.append(
            Pool(name=f"taskset {path.stem}", runs=runs, budgets=_VALUES, unit=unit, longest=length)
        )
    return pools


def _finite(values: Iterable[float]) -> list[float]:
    return [value if math.isfinite(value) else math.inf for value in values]


if __name__ == "__main__":
    main()
