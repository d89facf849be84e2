"""What there is of checkpoints in a directory, so that what changes is known from what does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A file is not read longer than this that is not a file any more when it is opened.
READ: Final = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0)

Check = Callable[[int], None]
"""Is told how many bytes were moved since its last call, and raises to end the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Tell a file from what it is after a change."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEntry:
    """Hold where a link within the directory leads, from where it is."""

    target: str


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """Stand for a directory."""


Entry = FileEntry | LinkEntry | DirectoryEntry
Tree = Mapping[str, Entry]
"""What is in a directory, by path within it."""


def scan(root: Path, check: Check) -> dict[str, Entry]:
    """Find what is in a directory that can be kept, by path within it.

    Sockets, pipes, devices and links that lead out, or nowhere, are left out, as is what vanishes
    meanwhile.
    """
    return dict(_entries(root, root.resolve(), root, check))


def _entries(
    root: Path, resolved: Path, directory: Path, check: Check
) -> Iterator[tuple[str, Entry]]:
    check(0)
    with suppress(FileNotFoundError), os.scandir(directory) as scanned:
        for entry in list(scanned):
            path = Path(entry.path)
            name = os.fspath(path.relative_to(root))
            with suppress(FileNotFoundError):
                if entry.is_symlink():
                    link = inner_link(resolved, path)
                    if link is not None:
                        yield name, link
                elif entry.is_dir(follow_symlinks=False):
                    yield name, DirectoryEntry()
                    yield from _entries(root, resolved, path, check)
                elif entry.is_file(follow_symlinks=False):
                    yield name, file_entry(entry.stat(follow_symlinks=False))


def inner_link(resolved: Path, link: Path) -> LinkEntry | None:
    """Read a link; None: it leads out of the directory, or nowhere."""
    try:
        end = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    if not end.is_relative_to(resolved):
        return None
    return LinkEntry(target=os.path.relpath(end, link.parent.resolve()))


def file_entry(info: os.stat_result) -> FileEntry:
    """Give what a file is by what the system says of it."""
    return FileEntry(
        inode=info.st_ino,
        size=info.st_size,
        modified_ns=info.st_mtime_ns,
        changed_ns=info.st_ctime_ns,
    )
