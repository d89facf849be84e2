"""Keep what was measured: a line of JSON for each finished run, a file for each label.

A run is one method on one task with one seed. Lines are only ever appended.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Hold one finished run.

    Attributes:
        task: Name of the task.
        method: Name of the method.
        seed: Of the run.
        pending: How many evaluations were pending at a time; 1 is one after the other.
        versions: Of the packages that matter, by name.
        values: What the method was told, in the order in which it had asked.
        means: The same without noise; empty where there is none.
        ask_s: Seconds of each ask.
        tell_s: Seconds of each tell.
        recorded_at: When, UTC.
    """

    task: str
    method: str
    seed: int
    pending: int
    versions: dict[str, str]
    values: list[float]
    means: list[float] = field(default_factory=list)
    ask_s: list[float]
    tell_s: list[float]
    recorded_at: str

    def best(self) -> list[float]:
        """Give, after each evaluation, the mean value of what looked best by its observed value."""
        means = self.means or self.values
        chosen, best = [], math.inf
        place = 0
        for index, value in enumerate(self.values):
            if value < best:
                best, place = value, index
            chosen.append(means[place])
        return chosen


def append(path: Path, record: Record) -> None:
    """Add a run to a file, in one write: several processes may add to the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    compact = asdict(record)
    for name in ("values", "means"):
        compact[name] = _rounded(compact[name], 7)
    for name in ("ask_s", "tell_s"):
        compact[name] = _rounded(compact[name], 3)
    line = json.dumps(compact, separators=(",", ":")) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read(path: Path) -> list[Record]:
    """Read a file's runs; none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Record(**json.loads(line)) for line in lines if line.strip()]


def read_all(folders: Iterable[Path]) -> dict[str, list[Record]]:
    """Read the files of all folders: by label, which is the file's name."""
    found: dict[str, list[Record]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.jsonl")):
            found.setdefault(path.stem, []).extend(read(path))
    return found


def _rounded(numbers: Sequence[float], digits: int) -> list[float]:
    return [float(f"{number:.{digits}g}") for number in numbers]
