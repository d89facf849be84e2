"""A trial's checkpoints: kept in step with a directory that outlives the attempt.

SageMaker's ``CheckpointConfig``: what is stored is copied into the trial's directory before its
program starts, and what the program writes there, changes and deletes is mirrored while it runs and
once more at its end. Each training job has a folder of its own, ``<S3Uri>/<training job>``. Beside
it, hidden, lies what an attempt needs for itself: files that are not whole yet, and the lease of the
latest attempt, so that one that has lost its lease stores nothing any more.

A file comes into its place whole, by a rename. Files are copied in the order in which they were
changed, so that one that points to another arrives after it; what changes while it is read is left
for the next time. Of links those within the directory are kept, and no other is followed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from tunesmith.runner.contract import TrialTree
from tunesmith.runner.errors import PATH_MISTAKES, FailureKind, TrialFailure, failure_of_os_error
from tunesmith.runner.locations import Buckets, locate
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

_ML: Final = PurePosixPath("/opt/ml")
_CHUNK_BYTES: Final = 4 * 1024 * 1024
#: A file is not read longer than this that is not a file any more when it is opened.
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0)

Check = Callable[[int], None]
"""Is told how many bytes were written since its last call, and raises to end the work."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """Tell a file from what it is after a change."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """Hold where a link within the directory leads, from where it is."""

    target: str


@dataclass(frozen=True, slots=True)
class _Directory:
    """Stand for a directory."""


_Entry = _File | _Link | _Directory
_Tree = Mapping[str, _Entry]


def checkpoint_place(
    config: definition_pb.CheckpointConfig,
    tree: TrialTree,
    *,
    training_job_name: str,
    lease_token: int,
    buckets: Buckets,
) -> CheckpointPlace:
    """Find where a training job's checkpoints are, and whether they could be.

    Args:
        config: What the request has.
        tree: Where the attempt runs.
        training_job_name: The trial.
        lease_token: Of this attempt.
        buckets: What stands for buckets here.

    Raises:
        TrialFailure: The place is not one that this runner can use.
    """
    base = locate(config.s3_uri, member="CheckpointConfig.S3Uri", buckets=buckets)
    if not isinstance(base, Path):
        raise TrialFailure(
            FailureKind.CLIENT,
            f"CheckpointConfig.S3Uri is {config.s3_uri!r}: checkpoints are not kept over the network",
        )
    existing = next(path for path in (base, *base.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise TrialFailure(
            FailureKind.CLIENT,
            f"CheckpointConfig.S3Uri is {config.s3_uri!r}: {existing} is no directory that this "
            "runner may write to",
        )
    return CheckpointPlace(
        local=_local(config.local_path, tree),
        stored=base / training_job_name,
        aside=base / f".{training_job_name}",
        lease_token=lease_token,
    )


def _local(local_path: str, tree: TrialTree) -> Path:
    """Find the trial's own directory for a path under ``/opt/ml``."""
    if not local_path:
        return tree.checkpoints
    path = PurePosixPath(local_path)
    inner = path.parts[len(_ML.parts) :]
    taken = ("input", "model", "output", "code")
    if path.parts[: len(_ML.parts)] != _ML.parts or not inner or ".." in inner or inner[0] in taken:
        raise TrialFailure(
            FailureKind.CLIENT,
            f"CheckpointConfig.LocalPath is {local_path!r}: this runner takes a directory under "
            f"/opt/ml, which is SAGEMAKER_BASE_DIR, apart from {', '.join(taken)}",
        )
    return tree.ml.joinpath(*inner)


class Checkpoints:
    """Keep one attempt's checkpoints in step with what is stored. Its calls follow each other."""

    def __init__(self, place: CheckpointPlace) -> None:
        self._place = place
        self._known: _Tree = {}

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
            stored = _scan(place.stored, check)
        except OSError as error:
            doing = "the checkpoints cannot be used"
            raise failure_of_os_error(error, doing=doing, mistakes=PATH_MISTAKES) from error
        scratch = place.local.with_name(f".{place.local.name}.unfinished")
        try:
            _mirror(place.stored, stored, place.local, scratch, check)
        finally:
            scratch.unlink(missing_ok=True)
        self._known = _scan(place.local, check)

    def store(self, *, check: Check) -> None:
        """Bring what is stored into step with the trial's directory; durable on return.

        Nothing is done any more once a later attempt has taken over.

        Raises:
            OSError: Something could not be read or written; the next call tries again.
        """
        place = self._place
        if not self.is_current:
            return
        found = _scan(place.local, check)
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
    def is_current(self) -> bool:
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


def _scan(root: Path, check: Check) -> dict[str, _Entry]:
    """Find what is in a directory that can be kept, by path within it.

    Sockets, pipes, devices and links that lead out, or nowhere, are left out, as is what vanishes
    meanwhile.
    """
    return dict(_entries(root, root.resolve(), root, check))


def _entries(
    root: Path, resolved: Path, directory: Path, check: Check
) -> Iterator[tuple[str, _Entry]]:
    check(0)
    with suppress(FileNotFoundError), os.scandir(directory) as scanned:
        for entry in list(scanned):
            path = Path(entry.path)
            name = os.fspath(path.relative_to(root))
            with suppress(FileNotFoundError):
                if entry.is_symlink():
                    link = _inner_link(resolved, path)
                    if link is not None:
                        yield name, link
                elif entry.is_dir(follow_symlinks=False):
                    yield name, _Directory()
                    yield from _entries(root, resolved, path, check)
                elif entry.is_file(follow_symlinks=False):
                    yield name, _file(entry.stat(follow_symlinks=False))


def _inner_link(resolved: Path, link: Path) -> _Link | None:
    """Read a link; None: it leads out of the directory, or nowhere."""
    try:
        end = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    if not end.is_relative_to(resolved):
        return None
    return _Link(target=os.path.relpath(end, link.parent.resolve()))


def _file(info: os.stat_result) -> _File:
    return _File(
        inode=info.st_ino,
        size=info.st_size,
        modified_ns=info.st_mtime_ns,
        changed_ns=info.st_ctime_ns,
    )


def _mirror(source: Path, entries: _Tree, target: Path, scratch: Path, check: Check) -> set[str]:
    """Copy what was found in a directory into another one, by way of a file on the latter's disk.

    Returns:
        The files that changed or vanished while they were read, and stay as they were.
    """
    for name in sorted(name for name, entry in entries.items() if isinstance(entry, _Directory)):
        path = target / name
        if path.is_symlink() or not path.is_dir():
            _remove(path)
            path.mkdir(parents=True)
    unread: set[str] = set()
    files = [(entry, name) for name, entry in entries.items() if isinstance(entry, _File)]
    for entry, name in sorted(files, key=lambda each: (each[0].modified_ns, each[1])):
        if not _copy(source / name, scratch, entry, check):
            unread.add(name)
            continue
        _put(scratch, target / name)
    for name, found in entries.items():
        if isinstance(found, _Link):
            scratch.unlink(missing_ok=True)
            scratch.symlink_to(found.target)
            _put(scratch, target / name)
    return unread


def _copy(path: Path, copy: Path, expected: _File, check: Check) -> bool:
    """Copy a file as it was found, durably; False: it is not that file any more."""
    try:
        descriptor = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return False
    with os.fdopen(descriptor, "rb", buffering=0) as reader, copy.open("wb") as writer:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or _file(info) != expected:
            return False
        while chunk := reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            check(len(chunk))
        writer.flush()
        # A program may look for its newest checkpoint by the time.
        os.utime(writer.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
        os.fchmod(writer.fileno(), stat.S_IMODE(info.st_mode) | stat.S_IRUSR | stat.S_IWUSR)
        os.fsync(writer.fileno())
        return _file(os.fstat(descriptor)) == expected


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
