"""A directory of this host as the place of channels, archives and artifacts.

What is stored is written under another name, forced to disk, and then renamed: a reader sees the
whole or nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from tunesmith.runner.errors import PATH_MISTAKES, FailureKind, TrialFailure
from tunesmith.runner.stored_tree import inner_target, walk

_CHUNK_BYTES: Final = 4 * 1024 * 1024


class DirectoryStorage:
    """Read from and write to a path; see ``storage.Storage``.

    Args:
        path: The path, of a file or directory, or of nothing yet.
        uri: The same as the request spells it.
    """

    def __init__(self, path: Path, *, uri: str) -> None:
        self._path = path
        self._uri = uri

    def check_writable(self, member: str) -> None:
        """Look whether something could be stored here.

        Raises:
            TrialFailure: Nothing could be.
        """
        path = self._path
        existing = next(each for each in (path, *path.parents) if each.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise TrialFailure(
                FailureKind.CLIENT,
                f"{member} is {self._uri!r}: {existing} is no directory that this runner may write "
                "to",
            )

    def opened(self, *, scratch: Path, check: Callable[[int], None]) -> IO[bytes]:  # noqa: ARG002 - nothing is copied
        """Open the one file that is here.

        Raises:
            TrialFailure: There is none, or it cannot be read.
        """
        try:
            # Not blocking: a pipe that nobody writes to would hold the runner.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            is_mistake = error.errno in PATH_MISTAKES | {errno.ENOENT, errno.ENXIO, errno.ELOOP}
            kind = FailureKind.CLIENT if is_mistake else FailureKind.INTERNAL
            raise TrialFailure(kind, f"cannot read {self._uri}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise TrialFailure(
                FailureKind.CLIENT, f"cannot read {self._uri}: it is no regular file"
            )
        return os.fdopen(descriptor, "rb")

    def fetch_tree(self, target: Path, *, check: Callable[[int], None]) -> None:
        """Copy what is here into a directory.

        Raises:
            TrialFailure: It is not there, cannot be read, or holds what cannot be copied.
            OSError: The target cannot be written.
        """
        copy_tree(self._path, target, check=check)

    def store_file(
        self,
        name: str,
        write: Callable[[IO[bytes]], None],
        *,
        scratch: Path,  # noqa: ARG002 - written where it stays
        check: Callable[[int], None],
    ) -> None:
        """Store a file under a name here, durably.

        Raises:
            OSError: It could not be.
        """
        check(0)
        self._path.mkdir(parents=True, exist_ok=True)
        unfinished = self._path / f".{name}.unfinished"
        try:
            with unfinished.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self._path / name)
        finally:
            unfinished.unlink(missing_ok=True)
        _sync_directory(self._path)

    def store_tree(self, name: str, source: Path, *, check: Callable[[int], None]) -> None:
        """Store what is in a directory under a name here, durably, in the place of what is there.

        Raises:
            OSError: It could not be.
        """
        self._path.mkdir(parents=True, exist_ok=True)
        unfinished = self._path / f".{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            for path in walk(source):
                _store(path, source, unfinished / path.relative_to(source), check)
            _sync_directory(unfinished)
            # A rename replaces no directory that holds something: an earlier attempt's goes first.
            shutil.rmtree(self._path / name, ignore_errors=True)
            unfinished.rename(self._path / name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _sync_directory(self._path)


def _store(path: Path, source: Path, copy: Path, check: Callable[[int], None]) -> None:
    check(0)
    inner = inner_target(source, path) if path.is_symlink() else None
    if inner is not None:
        copy.symlink_to(inner)
    elif path.is_dir():
        copy.mkdir()
    else:
        with path.open("rb") as reader, copy.open("wb") as writer:
            while chunk := reader.read(_CHUNK_BYTES):
                writer.write(chunk)
                check(len(chunk))
            writer.flush()
            os.fsync(writer.fileno())
        shutil.copymode(path, copy)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_tree(source: Path, target: Path, *, check: Callable[[int], None]) -> None:
    """Copy a file, or what is in a directory, into a directory.

    A symbolic link within the source stays one; one that leads out of it is refused, because
    what lies there is not part of the channel.

    Args:
        source: File or directory.
        target: The directory; exists.
        check: Called with the number of bytes that were written since its last call; raises
            to end the copying.

    Raises:
        TrialFailure: The source is not there, cannot be read, or holds what cannot be copied.
        OSError: The target cannot be written.
    """
    try:
        root = source.resolve(strict=True)
        info = root.stat()
    except (OSError, RuntimeError) as error:
        raise _unusable(source, error) from error
    if stat.S_ISREG(info.st_mode):
        _copy_file(root, target / source.name, check)
    elif stat.S_ISDIR(info.st_mode):
        _copy_directory(root, root, target, check)
    else:
        raise TrialFailure(FailureKind.CLIENT, f"{source} is neither a file nor a directory")


def _unusable(path: Path, error: Exception) -> TrialFailure:
    said = error.strerror if isinstance(error, OSError) else str(error)
    return TrialFailure(FailureKind.CLIENT, f"cannot read channel data at {path}: {said}")


def _copy_directory(root: Path, source: Path, target: Path, check: Callable[[int], None]) -> None:
    try:
        entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    except OSError as error:
        raise _unusable(source, error) from error
    for entry in entries:
        path = Path(entry.path)
        copy = target / entry.name
        check(0)
        if entry.is_symlink():
            _copy_link(root, path, copy)
        elif entry.is_dir(follow_symlinks=False):
            copy.mkdir(exist_ok=True)
            _copy_directory(root, path, copy, check)
        elif entry.is_file(follow_symlinks=False):
            _copy_file(path, copy, check)
        else:
            raise TrialFailure(
                FailureKind.CLIENT, f"{path} is no file, directory or link, and cannot be copied"
            )


def _copy_link(root: Path, link: Path, copy: Path) -> None:
    try:
        end = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise _unusable(link, error) from error
    if not end.is_relative_to(root):
        raise TrialFailure(
            FailureKind.CLIENT, f"{link} links to {end}, which is outside the channel's {root}"
        )
    copy.symlink_to(os.path.relpath(end, link.parent))


def _copy_file(source: Path, copy: Path, check: Callable[[int], None]) -> None:
    try:
        # Not blocking: a pipe put in the file's place meanwhile must not hold the runner.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _unusable(source, error) from error
    with os.fdopen(descriptor, "rb", buffering=0) as reader, copy.open("wb", buffering=0) as writer:
        while chunk := _read(reader.fileno(), source):
            writer.write(chunk)
            check(len(chunk))
    shutil.copymode(source, copy)
    copy.chmod(copy.stat().st_mode | stat.S_IWUSR)


def _read(descriptor: int, source: Path) -> bytes:
    try:
        return os.read(descriptor, _CHUNK_BYTES)
    except OSError as error:
        raise _unusable(source, error) from error
