"""What of a trial's directory can be stored, and where its links lead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(directory: Path) -> Iterator[Path]:
    """Give what can be stored, parents before children, in the order of names.

    That is: directories, files, links to what is within the root, and links out of it to
    files, whose content is stored in their place, since a model that refers to this host's
    other files would be of no use. Sockets, pipes, devices and broken links are left out.
    """
    for root, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = Path(root) / name
            leads_out = path.is_symlink() and inner_target(directory, path) is None
            if path.is_file() or (path.is_dir() and not leads_out):
                yield path


def inner_target(root: Path, link: Path) -> str | None:
    """Say where a link within the root leads, relative to it; ``None`` if it leads out."""
    try:
        end = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    if not end.is_relative_to(root.resolve()):
        return None
    return os.path.relpath(end, link.parent.resolve())
