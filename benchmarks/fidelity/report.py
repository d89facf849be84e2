"""Say how much regret each method leaves at a budget, from the records, as Markdown tables.

    .venv/bin/python -m benchmarks.fidelity.report [--labels random,halving] [--records DIR ...]

Methods are compared on the tasks and seeds that all of them have. Beside a mean stands its standard
error over the seeds. Ranks are given within each task,
seed and budget, 1 for the least regret, ties sharing their average. A method that stops runs early
uses up the pool first, and learns nothing more from then on: how often is told, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from benchmarks.fidelity.plots import draw_regrets
from benchmarks.fidelity.pools import F64, HOURS, VALUES
from benchmarks.fidelity.records import FOLDER, Record, read

#: Of the largest budget; records have nothing from much earlier, and diverged runs no regret.
DRAWN_FROM: Final = 0.08
POINTS: Final = 80

#: A task's name and a seed.
Replay: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Hold what one kind of data is reported by.

    Attributes:
        name: Of the kind; its tasks' names begin with it.
        budgets: At which the regret is read.
        unit: Of the budgets.
    """

    name: str
    budgets: tuple[float, ...]
    unit: str


DATA: Final = (
    Data(name="alexnet", budgets=HOURS, unit="run-hours"),
    Data(name="taskset", budgets=VALUES, unit="values"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Hold methods' records on the replays that all of them have.

    Attributes:
        labels: The methods, or variants.
        replays: Tasks and seeds.
        records: By label, in the order of the replays.
    """

    labels: tuple[str, ...]
    replays: tuple[Replay, ...]
    records: Mapping[str, Sequence[Record]]

    def of(self, data: Data) -> Comparison:
        """Keep the replays of one kind of data."""
        kept = [index for index, (task, _) in enumerate(self.replays) if task.startswith(data.name)]
        return Comparison(
            labels=self.labels,
            replays=tuple(self.replays[index] for index in kept),
            records={label: [own[index] for index in kept] for label, own in self.records.items()},
        )

    def regrets(self, budget: float) -> F64:
        """Give the regrets that a budget leaves.

        Returns:
            (methods, replays) regrets.
        """
        return np.array(
            [[record.regret(budget) for record in self.records[label]] for label in self.labels]
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--labels", help="of the records, by commas; default: all")
    parser.add_argument("--records", type=Path, nargs="*", default=[FOLDER], help="folders")
    parser.add_argument("--plot", type=Path, help="a PNG file to draw to; needs matplotlib")
    arguments = parser.parse_args()
    wanted = arguments.labels.split(",") if arguments.labels else None
    comparison = compare(load(arguments.records, wanted))
    print("\n".join(page(comparison)))
    if arguments.plot is not None:
        draw_regrets(list(panels(comparison)), arguments.plot)


def load(folders: Sequence[Path], wanted: Sequence[str] | None) -> dict[str, dict[Replay, Record]]:
    """Read records by label, which is the file's name, and by replay; the last one counts.

    Raises:
        SystemExit: There are none of a label, or none at all.
    """
    found: dict[str, dict[Replay, Record]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.jsonl")):
            own = found.setdefault(path.stem, {})
            own.update({(record.task, record.seed): record for record in read(path)})
    missing = [label for label in wanted or () if label not in found]
    if missing or not found:
        raise SystemExit(f"no records of {', '.join(missing) or 'anything'}")
    return {label: found[label] for label in wanted or found}


def compare(records: Mapping[str, Mapping[Replay, Record]]) -> Comparison:
    """Compare methods on the seeds that all of them have, of all tasks that any seed has.

    Raises:
        SystemExit: They have none in common.
    """
    shared = set.intersection(*(set(own) for own in records.values()))
    tasks = {task for task, _ in shared}
    common = sorted(
        (task, seed) for task, seed in shared if all((each, seed) in shared for each in tasks)
    )
    if not common:
        raise SystemExit(f"{', '.join(records)} have no replays in common")
    return Comparison(
        labels=tuple(records),
        replays=tuple(common),
        records={label: [own[each] for each in common] for label, own in records.items()},
    )


def page(comparison: Comparison) -> Iterator[str]:
    """Write the lines of the page."""
    present = [each for each in DATA if comparison.of(each).replays]
    yield "| label | versions | s a replay |"
    yield "|---|---|---|"
    for label in comparison.labels:
        own = comparison.records[label]
        versions = {", ".join(f"{k} {v}" for k, v in each.versions.items()) for each in own}
        took = np.mean([record.took_s for record in own])
        yield f"| {label} | {'; '.join(sorted(versions))} | {took:.3g} |"
    for data in present:
        yield from section(data, comparison.of(data))
    yield "\nMean rank over tasks, seeds and budgets\n"
    yield f"| label | all | {' | '.join(data.name for data in present)} |"
    yield "|---" * (2 + len(present)) + "|"
    by_data = [mean_ranks(data, comparison.of(data)) for data in present]
    counts = [len(comparison.of(data).replays) for data in present]
    overall = np.average(by_data, axis=0, weights=counts)
    for index in np.argsort(overall):
        cells = [overall[index], *(ranks[index] for ranks in by_data)]
        yield f"| {comparison.labels[index]} | {' | '.join(f'{cell:.2f}' for cell in cells)} |"


def panels(comparison: Comparison) -> Iterator[tuple[str, F64, dict[str, F64]]]:
    """Give the mean regrets at rising budgets, for each kind of data and each method."""
    for data in DATA:
        own = comparison.of(data)
        if own.replays:
            budgets = np.linspace(DRAWN_FROM * data.budgets[-1], data.budgets[-1], POINTS)
            means = np.array([own.regrets(float(budget)).mean(axis=1) for budget in budgets])
            regrets = dict(zip(own.labels, means.T, strict=True))
            yield f"{data.name}: {data.unit}", budgets, regrets


def section(data: Data, comparison: Comparison) -> Iterator[str]:
    """Write the table of one kind of data: mean regrets, and how often the pool was used up."""
    tasks = sorted({task for task, _ in comparison.replays})
    replays = len(comparison.replays)
    yield f"\n{data.name}: {len(tasks)} tasks, {replays // len(tasks)} seeds, mean regret\n"
    columns = [f"{budget:g} {data.unit} | pool used up" for budget in data.budgets]
    yield f"| label | {' | '.join(columns)} | runs begun, stopped |"
    yield "|---" * (2 + 2 * len(columns)) + "|"
    for index, label in enumerate(comparison.labels):
        own = comparison.records[label]
        cells = []
        for budget in data.budgets:
            # Replays are ordered by task, and then by seed.
            by_seed = comparison.regrets(budget)[index].reshape(len(tasks), -1).mean(axis=0)
            error = by_seed.std(ddof=1) / np.sqrt(len(by_seed)) if len(by_seed) > 1 else np.nan
            used_up = sum(record.is_used_up(budget) for record in own)
            cells.append(f"{by_seed.mean():.4f} ± {error:.4f} | {used_up} of {replays}")
        begun = np.mean([record.begun for record in own])
        stopped = np.mean([record.stopped for record in own])
        yield f"| {label} | {' | '.join(cells)} | {begun:.0f}, {stopped:.0f} |"


def mean_ranks(data: Data, comparison: Comparison) -> F64:
    """Rank methods within each replay and budget.

    Returns:
        (methods,) mean ranks, from 1.
    """
    regrets = np.concatenate([comparison.regrets(budget) for budget in data.budgets], axis=1)
    below = (regrets[None, :, :] < regrets[:, None, :]).sum(axis=1)
    equal = (regrets[None, :, :] == regrets[:, None, :]).sum(axis=1)
    means: F64 = (below + (equal + 1) / 2).mean(axis=1)
    return means


if __name__ == "__main__":
    main()
