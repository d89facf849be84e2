"""Files that are for the user alone who runs the server: its data, and a configuration with keys."""

from __future__ import annotations

import stat
from pathlib import Path


def make_private(directory: Path) -> None:
    """Make a directory, and those above it that are missing, for the user alone.

    One that is there stays as it is. What is made in a private one needs no care of its own: nobody
    else gets there.

    Raises:
        OSError: It can't be made.
    """
    for each in reversed((directory, *directory.parents)):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(exist_ok=True)  # which refuses what is no directory


def is_open_to_others(path: Path) -> bool:
    """Tell whether users who are neither the owner nor of the group may read a file or directory.

    A group may have been chosen to share it with.
    """
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
