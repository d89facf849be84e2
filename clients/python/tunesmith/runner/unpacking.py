"""Unpack an archive into a directory, and write nowhere else, whatever the archive holds.

Files and directories come first, while there is no link in the tree; then the links, each in a
directory that is one and no link; and when all are there, each is followed, since where one leads
depends on the others. Of members with one name the last one stays, as with tar. A refused archive
leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Final

from tunesmith.runner.tar_members import ArchiveRefused, Member, MemberKind, TarGz

_FILES_MAX: Final = 20_000
_BYTES_MAX: Final = 1024**3
_CHUNK_BYTES: Final = 1024 * 1024
#: Directories in each other; Python removes trees with a call for each level, of which 1000 are possible.
_DEPTH_MAX: Final = 256
#: Linux's PATH_MAX, in bytes; and how much of a name is shown, in characters.
_PATH_MAX: Final = 4096
_SHOWN: Final = 200
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
#: A place that is taken by something of another kind.
_TAKEN: Final = frozenset(
    {errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EINVAL}
)


def unpack(file: IO[bytes], target: Path, *, check: Callable[[int], None]) -> None:
    """Unpack a .tar.gz of files, directories, and links within it.

    A hard link is made a copy of the file that it names.

    Args:
        file: The archive.
        target: An empty directory.
        check: Called with the number of bytes that were written since its last call; raises to end
            the work.

    Raises:
        ArchiveRefused: It is no whole archive, or holds what it may not or too much.
        OSError: The target cannot be written.
    """
    try:
        _Unpacking(target, check).unpack(file)
    except BaseException:
        _empty(target)
        raise


class _Unpacking:
    def __init__(self, target: Path, check: Callable[[int], None]) -> None:
        self._target = target
        self._check = check
        self._written = 0
        self._directories = 0
        #: Links that are still to be made, and where they lead; nothing is at their places.
        self._links: dict[tuple[str, ...], str] = {}

    def unpack(self, file: IO[bytes]) -> None:
        archive = TarGz(file, bytes_max=_BYTES_MAX, check=self._check)
        for count, member in enumerate(archive.members(), 1):
            if count > _FILES_MAX:
                raise ArchiveRefused(f"it holds more than {_FILES_MAX} members")
            if member.kind is MemberKind.LABEL:
                continue
            parts = _parts_of(member.name)
            with _refusals(member.name):
                match member.kind:
                    case MemberKind.DIRECTORY:
                        with self._directory(parts):
                            pass
                    case MemberKind.FILE:
                        self._write(parts, archive.content(), is_executable=member.is_executable)
                    case MemberKind.SYMBOLIC_LINK:
                        self._keep_link(parts, member.link)
                    case MemberKind.HARD_LINK:
                        self._copy(parts, member)
                    case _:
                        raise ArchiveRefused(f"{member.name!r} is no file, directory or link")
        for parts, to in self._links.items():
            self._check(0)
            with _refusals("/".join(parts)), self._directory(parts[:-1]) as directory:
                os.symlink(to, parts[-1], dir_fd=directory)
        root = self._target.resolve()
        for parts in self._links:
            self._check(0)
            _follow(root, parts)

    @contextmanager
    def _directory(self, parts: tuple[str, ...]) -> Iterator[int]:
        """Open a directory in the tree, making what is missing and going through no link."""
        descriptor = os.open(self._target, _DIRECTORY)
        try:
            for part in parts:
                with suppress(FileExistsError):  # What is no directory is not opened.
                    os.mkdir(part, dir_fd=descriptor)
                    self._count_directory()
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _count_directory(self) -> None:
        # One member's name may imply many of them.
        self._directories += 1
        if self._directories > _FILES_MAX:
            raise ArchiveRefused(f"it holds more than {_FILES_MAX} directories")
        self._check(0)

    def _write(
        self, parts: tuple[str, ...], content: Iterator[bytes], *, is_executable: bool
    ) -> None:
        if not parts:
            raise ArchiveRefused("it has a file without a name")
        with self._directory(parts[:-1]) as directory:
            # A later member replaces an earlier one of the same name, as tar itself has it.
            self._links.pop(parts, None)
            descriptor = os.open(parts[-1], _WRITE, 0o600, dir_fd=directory)
            with os.fdopen(descriptor, "wb", buffering=0) as writer:
                for chunk in content:
                    writer.write(chunk)
                    self._check(len(chunk))
                    self._written += len(chunk)
                    if self._written > _BYTES_MAX:
                        raise ArchiveRefused(f"it holds more than {_BYTES_MAX} bytes")
                os.fchmod(descriptor, 0o755 if is_executable else 0o644)

    def _copy(self, parts: tuple[str, ...], member: Member) -> None:
        """Make a hard link a file of its own, with the content of the one that it names.

        Of a link it makes another one like it. A member that names itself, as archives have of a file
        that was given to tar twice, is there already.
        """
        source = _parts_of(member.link)
        refused = f"{member.name!r} is a hard link to {member.link!r}, which is no file before it"
        if not source:
            raise ArchiveRefused(refused)
        if source in self._links:
            if source != parts:
                self._keep_link(parts, self._links[source])
            return
        try:
            with self._directory(source[:-1]) as directory:
                descriptor = os.open(source[-1], _READ, dir_fd=directory)
        except OSError as error:
            raise ArchiveRefused(refused) from error
        with os.fdopen(descriptor, "rb", buffering=0) as reader:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise ArchiveRefused(refused)
            if source == parts:
                return
            chunks = iter(lambda: reader.read(_CHUNK_BYTES), b"")
            self._write(parts, chunks, is_executable=bool(info.st_mode & stat.S_IXUSR))

    def _keep_link(self, parts: tuple[str, ...], to: str) -> None:
        """Have a link made at the end, in the place of a file or link that is there."""
        if not parts or not to or "\0" in to or len(os.fsencode(to)) > _PATH_MAX:
            raise ArchiveRefused(f"the link {'/'.join(parts)!r} cannot be made")
        with self._directory(parts[:-1]) as directory, suppress(FileNotFoundError):
            os.unlink(parts[-1], dir_fd=directory)
        self._links[parts] = to


def _follow(root: Path, parts: tuple[str, ...]) -> None:
    """Refuse a link that leads out, or round in a circle; it may lead nowhere within the tree."""
    path = root.joinpath(*parts)
    name = "/".join(parts)
    try:
        # The system follows 40 links and no more, which bounds what is resolved below.
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ArchiveRefused(f"the link {name!r} cannot be followed: {error.strerror}") from error
    try:
        end = path.resolve()
    except (OSError, RuntimeError) as error:
        # What is missing for the system ends its search; behind it may be links that lead round in a
        # circle, of which Python 3.11 raises the latter.
        raise ArchiveRefused(f"the link {name!r} leads round in a circle, or too far") from error
    if not end.is_relative_to(root):
        raise ArchiveRefused(f"the link {name!r} leads out of the directory")


def _parts_of(name: str) -> tuple[str, ...]:
    """Split a member's path.

    Raises:
        ArchiveRefused: It leads out of the directory, or is too long for one.
    """
    parts = PurePosixPath(name).parts
    if "\0" in name or name.startswith("/") or ".." in parts:
        raise ArchiveRefused(f"{_short(name)} leads out of the directory")
    if len(parts) > _DEPTH_MAX or len(os.fsencode(name)) > _PATH_MAX:
        raise ArchiveRefused(f"{_short(name)} is too long a path")
    return parts


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Say of what the system will not make that the archive is to blame."""
    try:
        yield
    except OSError as error:
        if error.errno in _TAKEN:
            raise ArchiveRefused(
                f"{_short(name)} and another member cannot both be there"
            ) from error
        if error.errno in {errno.ENAMETOOLONG, errno.EILSEQ}:
            raise ArchiveRefused(f"{_short(name)}: {error.strerror}") from error
        raise


def _short(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")


def _empty(directory: Path) -> None:
    """Remove what is in a directory; no link is followed."""
    with os.scandir(directory) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink()
