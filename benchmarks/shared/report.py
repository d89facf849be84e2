"""The file that a benchmark leaves: its figures, with where and on what code they were measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def save(path: Path, **content: object) -> None:
    """Write a report as JSON, and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {**circumstances(), **content}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def circumstances() -> dict[str, str | int | None]:
    """Say where and on what code this is being measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip() if commit.returncode == 0 else None,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }
