"""Keep what was replayed: a line of JSON for each replay, a file for each method.

Lines are only ever appended. Numbers are kept with seven digits.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.fidelity.replay import Improvement, regret_at

FOLDER = Path(__file__).resolve().parent / "records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Hold one replay.

    Attributes:
        task: Name of the pool.
        seed: Of the method.
        versions: Of the packages that matter, by name.
        improvements: Pairs of what was spent and the regret from then on; the first few are left out.
        begun: How many runs were begun.
        stopped: How many of these were stopped.
        used_up_at: What was spent when the pool was used up; None: it was not.
        took_s: How long the replay took, the method's own time almost all of it.
        recorded_at: When, UTC.
    """

    task: str
    seed: int
    versions: dict[str, str]
    improvements: list[Improvement]
    begun: int
    stopped: int
    used_up_at: float | None
    took_s: float
    recorded_at: str

    def regret(self, budget: float) -> float:
        """Give the regret that a budget leaves."""
        return regret_at(self.improvements, budget)

    def is_used_up(self, budget: float) -> bool:
        """Tell whether the pool was used up before the budget was."""
        return self.used_up_at is not None and self.used_up_at <= budget


def append(path: Path, record: Record) -> None:
    """Add a replay to a file, in one write: several processes may add to the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    compact = asdict(record)
    compact["improvements"] = [
        [_rounded(spent), _rounded(regret)] for spent, regret in record.improvements
    ]
    compact["used_up_at"] = None if record.used_up_at is None else _rounded(record.used_up_at)
    compact["took_s"] = float(f"{record.took_s:.3g}")
    line = json.dumps(compact, separators=(",", ":")) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read(path: Path) -> list[Record]:
    """Read a file's replays; none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_record(json.loads(line)) for line in lines if line.strip()]


def _record(kept: dict[str, Any]) -> Record:
    kept["improvements"] = [Improvement(*each) for each in kept["improvements"]]
    return Record(**kept)


def _rounded(number: float) -> float:
    return float(f"{number:.7g}")
