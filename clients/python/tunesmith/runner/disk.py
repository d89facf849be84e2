"""The disk that a trial may use: looked at before its start, and measured while it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tunesmith.runner.errors import FailureKind, TrialFailure

_GIB: Final = 1024**3


def check_free_space(directory: Path, needed_bytes: int) -> None:
    """Refuse a trial whose disk is not there.

    Raises:
        TrialFailure: Less is free than the trial may use. Another host, or a later time, may do.
    """
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise TrialFailure(
            FailureKind.INTERNAL,
            f"the runner's disk has {free / _GIB:.1f} GiB free, and VolumeSizeInGB asks for "
            f"{needed_bytes / _GIB:g}: free some, or ask for less",
        )


def used_bytes(directory: Path, *, check: Callable[[], None]) -> int:
    """Measure what a directory takes on the disk; what vanishes meanwhile counts nothing.

    Args:
        directory: What to measure. Links are not followed; a file of several names counts once.
        check: Called now and then; raises to end the measuring.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [os.fspath(directory)]
    while pending:
        check()
        try:
            with os.scandir(pending.pop()) as entries:
                found = list(entries)
        except OSError:
            continue
        for entry in found:
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            if info.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                if (info.st_dev, info.st_ino) in seen:
                    continue
                seen.add((info.st_dev, info.st_ino))
            total += info.st_blocks * 512  # POSIX: st_blocks counts 512 bytes, always
    return total


def volume_exceeded(used: int, limit_bytes: int) -> TrialFailure:
    """Say that a trial took more disk than it may."""
    return TrialFailure(
        FailureKind.CLIENT,
        f"the trial's files take {used} bytes, more than the {limit_bytes} that it may use: raise "
        f"VolumeSizeInGB above {limit_bytes / _GIB:g}, or write less",
    )
