"""A trial's checkpoints in a directory that outlives the attempt.

Beside the training job's folder, hidden, lies what an attempt needs for itself: files that are not
whole yet, and the lease of the latest attempt.

A file comes into its place whole, by a rename. Files are copied in the order in which they were
changed, so that one that points to another arrives after it; what changes while it is read is left
for the next time. Of links those within the directory are kept, and no other is followed.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tunesmith.runner.checkpoint_tree import (
    READ,
    Check,
    DirectoryEntry,
    FileEntry,
    LinkEntry,
    Tree,
    file_entry,
    scan,
)
from tunesmith.runner.errors import PATH_MISTAKES, FailureKind, TrialFailure, failure_of_os_error

_CHUNK_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPlace:
    """Say where a training job's checkpoints are.

    Attributes:
        local: The trial's own directory.
        stored: What is kept in step with it, ``<S3Uri>/<training job>``.
        aside: For what is not whole yet, on the same disk: ``<S3Uri>/.<training job>``.
        lease_token: Of this attempt.
    """

    local: Path
    stored: Path
    aside: Path
    lease_token: int


class DirectoryCheckpoints:
    """Keep one attempt's checkpoints in step with a directory; see ``checkpoints.Checkpoints``."""

    def __init__(self, place: CheckpointPlace) -> None:
        self._place = place
        self._known: Tree = {}

    @property
    def local(self) -> Path:
        """Name the trial's own directory."""
        return self._place.local

    def restore(self, *, check: Check) -> None:
        """Take the store over from earlier attempts, and copy what it holds into the trial's tree.

        Raises:
            TrialFailure: The place cannot be used.
            OSError: The trial's own disk is in trouble.
        """
        place = self._place
        place.local.mkdir(parents=True, exist_ok=True)
        try:
            place.stored.mkdir(parents=True, exist_ok=True)
            place.aside.mkdir(exist_ok=True)
            self._take_over()
            for left in place.aside.glob("*.unfinished"):
                left.unlink(missing_ok=True)
            stored = scan(place.stored, check)
        except OSError as error:
            doing = "the checkpoints cannot be used"
            raise failure_of_os_error(error, doing=doing, mistakes=PATH_MISTAKES) from error
        scratch = place.local.with_name(f".{place.local.name}.unfinished")
        try:
            _mirror(place.stored, stored, place.local, scratch, check)
        finally:
            scratch.unlink(missing_ok=True)
        self._known = scan(place.local, check)

    def store(self, *, check: Check) -> None:
        """Bring what is stored into step with the trial's directory; durable on return.

        Nothing is done any more once a later attempt has taken over.

        Raises:
            OSError: Something could not be read or written; the next call tries again.
        """
        place = self._place
        if not self._is_current:
            return
        found = scan(place.local, check)
        changed = {name: entry for name, entry in found.items() if self._known.get(name) != entry}
        gone = [name for name in self._known if name not in found]
        if not changed and not gone:
            return
        scratch = place.aside / f"{place.lease_token}.unfinished"
        try:
            unread = _mirror(place.local, changed, place.stored, scratch, check)
        finally:
            scratch.unlink(missing_ok=True)
        # Parents after what they hold.
        for name in sorted(gone, reverse=True):
            _remove(place.stored / name)
        _sync_directories(place.stored, {*changed, *gone})
        self._known = {name: entry for name, entry in found.items() if name not in unread}

    @property
    def _is_current(self) -> bool:
        """Tell whether no later attempt has taken the store over."""
        return _lease_of(self._place.aside) == self._place.lease_token

    def _take_over(self) -> None:
        """Note down whose the store is from now on.

        Raises:
            TrialFailure: It is a later attempt's already.
        """
        place = self._place
        if _lease_of(place.aside) > place.lease_token:
            raise TrialFailure(
                FailureKind.INTERNAL, "a later attempt at the training job has its checkpoints"
            )
        unfinished = place.aside / "lease.unfinished"
        unfinished.write_text(str(place.lease_token), encoding="ascii")
        unfinished.replace(place.aside / "lease")


def _lease_of(aside: Path) -> int:
    try:
        return int((aside / "lease").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _mirror(source: Path, entries: Tree, target: Path, scratch: Path, check: Check) -> set[str]:
    """Copy what was found in a directory into another one, by way of a file on the latter's disk.

    Returns:
        The files that changed or vanished while they were read, and stay as they were.
    """
    for name in sorted(
        name for name, entry in entries.items() if isinstance(entry, DirectoryEntry)
    ):
        path = target / name
        if path.is_symlink() or not path.is_dir():
            _remove(path)
            path.mkdir(parents=True)
    unread: set[str] = set()
    files = [(entry, name) for name, entry in entries.items() if isinstance(entry, FileEntry)]
    for entry, name in sorted(files, key=lambda each: (each[0].modified_ns, each[1])):
        if not _copy(source / name, scratch, entry, check):
            unread.add(name)
            continue
        _put(scratch, target / name)
    for name, found in entries.items():
        if isinstance(found, LinkEntry):
            scratch.unlink(missing_ok=True)
            scratch.symlink_to(found.target)
            _put(scratch, target / name)
    return unread


def _copy(path: Path, copy: Path, expected: FileEntry, check: Check) -> bool:
    """Copy a file as it was found, durably; False: it is not that file any more."""
    try:
        descriptor = os.open(path, READ)
    except (FileNotFoundError, NotADirectoryError):
        return False
    with os.fdopen(descriptor, "rb", buffering=0) as reader, copy.open("wb") as writer:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or file_entry(info) != expected:
            return False
        while chunk := reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            check(len(chunk))
        writer.flush()
        # A program may look for its newest checkpoint by the time.
        os.utime(writer.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
        os.fchmod(writer.fileno(), stat.S_IMODE(info.st_mode) | stat.S_IRUSR | stat.S_IWUSR)
        os.fsync(writer.fileno())
        return file_entry(os.fstat(descriptor)) == expected


def _put(scratch: Path, path: Path) -> None:
    """Bring a whole file, or a link, into its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(NotADirectoryError):
            path.unlink(missing_ok=True)


def _sync_directories(root: Path, names: set[str]) -> None:
    """Force the directories to disk in which something changed."""
    for directory in {root, *((root / name).parent for name in names)}:
        with suppress(FileNotFoundError, NotADirectoryError):
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
