"""Say which methods found the better values, in a Markdown page and plots.

    .bench/tasks/bin/python -m benchmarks.optimizer.report [--half reporting] [--out DIR]

The methods that have all tasks with at least `--full-seeds` seeds are compared on all of these. The
slow ones, which have fewer, are compared with those on the runs that all have; a method that has
less than most of them is compared on its own runs alone. Where there are records LABEL-pQ beside
LABEL, the regret with Q pending is compared with that of one after the other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.optimizer.comparison import (
    CHECKPOINTS,
    F64,
    Comparison,
    Run,
    Scale,
    by_run,
    compare,
    scales,
)
from benchmarks.optimizer.plots import draw_latency, draw_ranks, draw_regrets
from benchmarks.optimizer.records import FOLDER, Record, read_all
from benchmarks.optimizer.tasks.catalogue import tasks
from benchmarks.optimizer.tasks.objectives import objective
from benchmarks.optimizer.tasks.task import Half, Kind, Task

#: A slow method joins the others' table with at least this share of the most runs of a slow one.
ENOUGH = 0.8
#: A relative regret below counts as this: a ratio of two that small says nothing.
NEGLIGIBLE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Hold what is reported on.

    Attributes:
        tasks: Of the half.
        records: By label, then by run.
        scales: By task.
        full_seeds: How many seeds of each task make a method one of those with all.
    """

    tasks: tuple[Task, ...]
    records: Mapping[str, Mapping[Run, Record]]
    scales: Mapping[str, Scale]
    full_seeds: int

    def full(self) -> list[str]:
        """Give the labels that have all tasks with enough seeds."""
        return [
            label
            for label, runs in self.records.items()
            if all(
                sum(name == task.name for name, _ in runs) >= self.full_seeds for task in self.tasks
            )
            and not _pending_of(label)
        ]

    def slow(self) -> list[str]:
        """Give the other labels, those with the most runs first."""
        others = set(self.records) - set(self.full())
        sequential = [label for label in others if not _pending_of(label)]
        return sorted(sequential, key=lambda label: (-len(self.records[label]), label))


def main() -> None:
    """Write the page and the plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--half", type=Half, choices=list(Half), default=Half.REPORTING)
    parser.add_argument("--records", type=Path, nargs="*", default=[FOLDER], help="folders")
    parser.add_argument("--labels", help="of the records, by commas; default: all")
    parser.add_argument("--full-seeds", type=int, default=5, help="see above")
    parser.add_argument("--latency", type=Path, help="what latency.py wrote, to be drawn")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/optimizer"))
    arguments = parser.parse_args()
    chosen = arguments.labels.split(",") if arguments.labels else None
    results = load(arguments.half, arguments.records, chosen, full_seeds=arguments.full_seeds)
    text = "\n".join(page(results, arguments.out))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "report.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    if arguments.latency:
        measured = json.loads(arguments.latency.read_text(encoding="utf-8"))
        draw_latency(measured["lines"], arguments.out / "latency.png")


def load(
    half: Half, folders: Sequence[Path], chosen: Sequence[str] | None, *, full_seeds: int
) -> Results:
    """Read the records of a half.

    Raises:
        SystemExit: There are none.
    """
    of_half = tuple(task for task in tasks() if task.half is half)
    found = {label: by_run(each, of_half) for label, each in read_all(folders).items()}
    # Scales are over all that is recorded, so that they do not depend on who is compared.
    optima = {task.name: objective(task).optimum for task in of_half}
    wanted = list(chosen or found)
    records = {label: found[label] for label in wanted if found.get(label)}
    if not records:
        raise SystemExit(f"no records of {', '.join(wanted) or 'anything'} on the {half} half")
    return Results(
        tasks=of_half, records=records, scales=scales(found, optima), full_seeds=full_seeds
    )


def page(results: Results, out: Path) -> Iterator[str]:
    """Write the lines of the page, and draw its plots."""
    full, slow = results.full(), results.slow()
    yield "| label | runs | versions |"
    yield "|---|---|---|"
    for label, runs in results.records.items():
        versions = {text for record in runs.values() for text in [_versions(record)]}
        yield f"| {label} | {len(runs)} | {'; '.join(sorted(versions))} |"
    if len(full) > 1:
        comparison = compare(results.records, full)
        yield from section("All tasks", comparison, results)
        draw_regrets(comparison, results.scales, out / "regret.png")
        draw_ranks(comparison, out / "rank.png")
    most = max((len(results.records[label]) for label in slow), default=0)
    together = [label for label in slow if len(results.records[label]) >= ENOUGH * most]
    groups = [together, *([label] for label in slow if label not in together)]
    for group in filter(None, groups):
        comparison = compare(results.records, [*full, *group])
        if comparison.runs and len(comparison.labels) > 1:
            yield from section(f"With {', '.join(group)}", comparison, results)
            draw_ranks(comparison, out / f"rank-{'-'.join(group)}.png")
    yield from batches(results)


def section(title: str, comparison: Comparison, results: Results) -> Iterator[str]:
    """Write the tables of one comparison: mean ranks and mean regrets, in all and for each kind."""
    names = comparison.tasks
    seeds = len({seed for _, seed in comparison.runs})
    yield f"\n### {title}\n\n{len(comparison.runs)} runs: {len(names)} tasks, {seeds} seeds.\n"
    groups = {"all": list(names)} | {
        str(kind): [task.name for task in results.tasks if task.kind is kind and task.name in names]
        for kind in Kind
    }
    groups = {group: members for group, members in groups.items() if members}
    regrets = comparison.regrets(results.scales)
    for heading, digits, numbers in (
        ("mean rank", 2, comparison.ranks),
        ("mean normalised regret", 4, lambda after: regrets[:, :, after - 1]),
    ):
        yield f"| {heading} after | {' | '.join(_columns(groups))} |"
        yield "|---" * (1 + len(CHECKPOINTS) * len(groups)) + "|"
        cells = [
            comparison.by_task(numbers(after), members).mean(axis=1)
            for members in groups.values()
            for after in CHECKPOINTS
        ]
        yield from _rows(comparison.labels, np.column_stack(cells), digits)
        yield ""
    spread = comparison.by_task(comparison.ranks(max(CHECKPOINTS)), names).std(axis=1, ddof=1)
    errors = spread / np.sqrt(len(names))
    yield "Standard error of the mean rank over tasks, after all evaluations: " + ", ".join(
        f"{label} {error:.2f}" for label, error in zip(comparison.labels, errors, strict=True)
    )


def batches(results: Results) -> Iterator[str]:
    """Compare the regret with several pending with that of one after the other."""
    pairs = [(label, base) for label in results.records if (base := _pending_of(label))]
    pairs = [(label, base) for label, base in pairs if base in results.records]
    if not pairs:
        return
    yield "\n### Pending evaluations\n"
    yield "Regret relative to that of one after the other, at the same number of evaluations: of the"
    yield "means over tasks, and the geometric mean of the tasks' own ratios.\n"
    after = " | ".join(f"{each}, means | {each}, by task" for each in CHECKPOINTS)
    yield f"| label | runs | {after} |"
    yield "|---" * (2 + 2 * len(CHECKPOINTS)) + "|"
    for label, base in pairs:
        comparison = compare(results.records, [base, label])
        regrets = comparison.regrets(results.scales)
        cells = []
        for evaluations in CHECKPOINTS:
            means = comparison.by_task(regrets[:, :, evaluations - 1], comparison.tasks)
            floored = np.maximum(means, NEGLIGIBLE)
            ratio = means[1].mean() / max(means[0].mean(), NEGLIGIBLE)
            cells += [ratio, float(np.exp(np.log(floored[1] / floored[0]).mean()))]
        numbers = " | ".join(f"{cell:.3f}" for cell in cells)
        yield f"| {label} | {len(comparison.runs)} | {numbers} |"


def _columns(groups: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for group in groups:
        yield from (f"{group} {after}" for after in CHECKPOINTS)


def _rows(names: Sequence[str], cells: F64, digits: int) -> Iterator[str]:
    """Write a line for each method, the least number of each column bold, best in all first."""
    least = cells.min(axis=0)
    for index in np.argsort(cells[:, len(CHECKPOINTS) - 1]):
        shown = [
            f"**{cell:.{digits}f}**" if cell == low else f"{cell:.{digits}f}"
            for cell, low in zip(cells[index], least, strict=True)
        ]
        yield f"| {names[index]} | {' | '.join(shown)} |"


def _pending_of(label: str) -> str | None:
    """Give the label that one with pending evaluations belongs to."""
    base, dash, q = label.rpartition("-p")
    return base if dash and q.isdigit() else None


def _versions(record: Record) -> str:
    return ", ".join(f"{name} {version}" for name, version in record.versions.items())


if __name__ == "__main__":
    main()
