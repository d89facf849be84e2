"""Draw what the report says: regret and rank against evaluations, latency against observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.optimizer.comparison import Comparison, Scale

#: Regrets below are drawn here: a logarithmic axis has no 0.
FLOOR = 1e-8


def draw_regrets(comparison: Comparison, scales: Mapping[str, Scale], path: Path) -> None:
    """Draw a panel for each task: the median over seeds, and the quartiles as a band."""
    pyplot = _pyplot()
    names = comparison.tasks
    columns = 4
    rows = -(-len(names) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False, layout="constrained"
    )
    regrets = np.maximum(comparison.regrets(scales), FLOOR)
    owners = np.array([task for task, _ in comparison.runs])
    evaluations = np.arange(1, regrets.shape[2] + 1)
    for axis, name in zip(axes.flat, names, strict=False):
        for index, label in enumerate(comparison.labels):
            low, middle, high = np.quantile(regrets[index][owners == name], (0.25, 0.5, 0.75), 0)
            axis.plot(evaluations, middle, label=label, **_style(label, index))
            axis.fill_between(evaluations, low, high, alpha=0.12, color=f"C{index % 10}")
        axis.set_yscale("log")
        axis.set_title(name, fontsize=9)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("evaluations")
    for axis in axes[:, 0]:
        axis.set_ylabel("normalised regret")
    axes[0, 0].legend(fontsize=7)
    _save(figure, path)


def draw_ranks(comparison: Comparison, path: Path) -> None:
    """Draw the mean rank, over tasks and seeds, against evaluations."""
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    evaluations = np.arange(1, comparison.best.shape[2] + 1)
    ranks = np.array([comparison.ranks(int(each)).mean(axis=1) for each in evaluations])
    for index, label in enumerate(comparison.labels):
        axis.plot(evaluations, ranks[:, index], label=label, **_style(label, index))
    axis.set_xlabel("evaluations")
    axis.set_ylabel("mean rank, 1 is best")
    axis.legend()
    _save(figure, path)


def draw_latency(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the median seconds from tell to ask against the number of observations."""
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for index, method in enumerate(dict.fromkeys(line["method"] for line in lines)):
        own = [line for line in lines if line["method"] == method]
        n = [line["n"] for line in own]
        axis.plot(n, [line["median_s"] for line in own], "o-", label=method, color=f"C{index}")
        axis.plot(n, [line["p95_s"] for line in own], ":", color=f"C{index}")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("observations")
    axis.set_ylabel("seconds from tell to the next ask: median, dotted the 95th percentile")
    axis.yaxis.label.set_size(8)
    axis.legend()
    _save(figure, path)


def _style(label: str, index: int) -> dict[str, object]:
    ours = label.startswith("ours")
    return {"color": f"C{index % 10}", "linewidth": 2.2 if ours else 1.2}


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)


def _pyplot() -> Any:
    import_module("matplotlib").use("Agg")
    return import_module("matplotlib.pyplot")
