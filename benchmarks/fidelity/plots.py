"""Draw what the report says: mean regret against what was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.fidelity.pools import F64

#: Regrets below are drawn here: a logarithmic axis has no 0.
FLOOR: Final = 1e-4


def draw_regrets(panels: Sequence[tuple[str, F64, Mapping[str, F64]]], path: Path) -> None:
    """Draw a panel for each kind of data.

    Args:
        panels: What each is of; (b,) budgets; for each method (b,) mean regrets.
        path: A PNG file.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(6 * len(panels), 4.5), squeeze=False, layout="constrained"
    )
    for axis, (title, budgets, regrets) in zip(axes[0], panels, strict=True):
        for index, (label, means) in enumerate(regrets.items()):
            width = 2.2 if label in ("halving", "model") else 1.2
            axis.plot(
                budgets, np.maximum(means, FLOOR), label=label, color=f"C{index}", linewidth=width
            )
        axis.set_yscale("log")
        axis.set_xlabel(title)
        axis.set_ylabel("mean regret")
    axes[0, 0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _pyplot() -> Any:
    import_module("matplotlib").use("Agg")
    return import_module("matplotlib.pyplot")
