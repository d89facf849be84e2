"""Read a .tar.gz that a stranger may have packed, in bounded memory and from first to last once.

``tarfile`` takes an extended header, of whatever length, into memory before anybody is asked, keeps every
member, and raises errors of its own kind for some that it cannot read. Here the headers are walked one by
one; of ``tarfile`` only its reading of a single one is used. Nothing is written.

Source: POSIX.1-2017, ``pax``, for the format and its extended headers; GNU tar's manual, "Basic Tar
Format", for its long names.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import IO, Final

_BLOCK: Final = tarfile.BLOCKSIZE
_CHUNK_BYTES: Final = 256 * 1024
#: Of one extended header, and of all in an archive; a path has 4096 bytes at most (Linux's PATH_MAX).
_EXTENDED_BYTES: Final = 64 * 1024
_EXTENDED_TOTAL_BYTES: Final = 32 * 1024 * 1024
#: GNU tar's volume header, of ``tar --label``: a name for the archive itself.
_LABEL_TYPE: Final = b"V"


class MemberKind(Enum):
    """Tell what a member is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMBOLIC_LINK = "symbolic link"
    HARD_LINK = "hard link"
    LABEL = "label"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Describe a member of an archive.

    Attributes:
        name: Its path, as the archive has it; bytes that are no UTF-8 are surrogates.
        kind: What it is.
        link: Where a link leads.
        size: Of its content, in bytes, >= 0; 0 for what is no file.
        is_executable: Whether its owner may run it.
    """

    name: str
    kind: MemberKind
    link: str
    size: int
    is_executable: bool


class ArchiveRefused(Exception):
    """Report that an archive is none, or holds what it may not; its text says why."""


@dataclass(slots=True)
class _Extended:
    """What extended headers say of the members that follow, in the place of their own headers."""

    name: str | None = None
    link: str | None = None
    size: int | None = None

    def over(self, other: _Extended) -> _Extended:
        return _Extended(
            name=other.name if self.name is None else self.name,
            link=other.link if self.link is None else self.link,
            size=other.size if self.size is None else self.size,
        )


class TarGz:
    """Walk an archive's members.

    Args:
        file: The archive, from its position on.
        bytes_max: How much may be unpacked from it, headers included.
        check: Asked again and again, with 0; raises to end the work.
    """

    def __init__(self, file: IO[bytes], *, bytes_max: int, check: Callable[[int], None]) -> None:
        # Asked below the decompression, too: much that is compressed may give nothing.
        self._stream = gzip.GzipFile(fileobj=_Asking(file, check), mode="rb")
        self._bytes_max = bytes_max
        self._check = check
        self._read_bytes = 0
        self._extended_bytes = 0
        self._left = 0
        self._padding = 0

    def members(self) -> Iterator[Member]:
        """Give each member; what is not read of its content until the next one is left out.

        Raises:
            ArchiveRefused: It is no whole archive, or more than may be.
        """
        everywhere = _Extended()
        here = _Extended()
        while (header := self._header()) is not None:
            if header.type in {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}:
                here = _of_records(self._payload(header.size)).over(here)
            elif header.type == tarfile.XGLTYPE:
                everywhere = _of_records(self._payload(header.size)).over(everywhere)
            elif header.type in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}:
                said = _text(self._payload(header.size).partition(b"\0")[0])
                is_name = header.type == tarfile.GNUTYPE_LONGNAME
                long = _Extended(name=said) if is_name else _Extended(link=said)
                here = long.over(here)
            else:
                yield self._member(header, here.over(everywhere))
                here = _Extended()

    def content(self) -> Iterator[bytes]:
        """Give the content of the member that was given last, some at a time.

        Raises:
            ArchiveRefused: It is not whole, or more than may be.
        """
        while self._left:
            chunk = self._read(min(self._left, _CHUNK_BYTES))
            self._left -= len(chunk)
            yield chunk

    def _member(self, header: tarfile.TarInfo, extended: _Extended) -> Member:
        kind = _kind_of(header)
        size = header.size if extended.size is None else extended.size
        # As tarfile and POSIX have it, links and directories have a size at times, and no content.
        has_content = kind in {MemberKind.FILE, MemberKind.LABEL, MemberKind.OTHER}
        self._expect(size if has_content else 0)
        return Member(
            name=(header.name if extended.name is None else extended.name).rstrip("/") or "/",
            kind=kind,
            link=header.linkname if extended.link is None else extended.link,
            size=size if kind is MemberKind.FILE else 0,
            is_executable=bool(header.mode & 0o100),
        )

    def _header(self) -> tarfile.TarInfo | None:
        """Read the next header; None: the archive has ended."""
        for _ in self.content():
            pass
        self._read(self._padding)
        self._padding = 0
        block = self._read(_BLOCK, may_end=True)
        if not block and not self._read_bytes:
            raise ArchiveRefused("it is no whole .tar.gz: it is empty")
        if not block:
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if not block.strip(b"\0"):
                return None
            raise ArchiveRefused(f"it is no whole .tar.gz: {error}") from error
        if header.size < 0:
            raise ArchiveRefused(f"it is no whole .tar.gz: {header.name!r} has {header.size} bytes")
        return header

    def _payload(self, size: int) -> bytes:
        """Read an extended header's content."""
        self._extended_bytes += size
        if size > _EXTENDED_BYTES or self._extended_bytes > _EXTENDED_TOTAL_BYTES:
            raise ArchiveRefused(
                f"it has extended headers of more than {_EXTENDED_BYTES} bytes, or "
                f"{_EXTENDED_TOTAL_BYTES} in all"
            )
        self._expect(size)
        return b"".join(self.content())

    def _expect(self, size: int) -> None:
        self._left = size
        self._padding = -size % _BLOCK

    def _read(self, size: int, *, may_end: bool = False) -> bytes:
        """Read as many bytes, of 256 KiB at most; none at the end, where that may be."""
        self._check(0)
        found = bytearray()
        try:
            while len(found) < size and (chunk := self._stream.read(size - len(found))):
                found += chunk
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ArchiveRefused(f"it is no whole .tar.gz: {error}") from error
        self._read_bytes += len(found)
        if self._read_bytes > self._bytes_max:
            raise ArchiveRefused(f"it holds more than {self._bytes_max} bytes")
        if len(found) < size and not (may_end and not found):
            raise ArchiveRefused("it is no whole .tar.gz: it ends too soon")
        return bytes(found)


class _Asking(io.RawIOBase):
    """Ask before every read of the compressed file whether to go on."""

    def __init__(self, file: IO[bytes], check: Callable[[int], None]) -> None:
        super().__init__()
        self._file = file
        self._check = check

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        self._check(0)
        return self._file.read(size)


def _kind_of(header: tarfile.TarInfo) -> MemberKind:
    if header.type in {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}:
        return MemberKind.FILE
    kinds = {
        tarfile.DIRTYPE: MemberKind.DIRECTORY,
        tarfile.SYMTYPE: MemberKind.SYMBOLIC_LINK,
        tarfile.LNKTYPE: MemberKind.HARD_LINK,
        _LABEL_TYPE: MemberKind.LABEL,
    }
    return kinds.get(header.type, MemberKind.OTHER)


def _of_records(payload: bytes) -> _Extended:
    """Read POSIX's records, ``length key=value`` and a line's end each; the last one of a key counts."""
    found = _Extended()
    at = 0
    while at < len(payload) and payload[at]:
        # 20 digits are more than any length has.
        length, _, rest = payload[at : at + 20].partition(b" ")
        record = payload[at : at + int(length)] if length.isdigit() and rest else b""
        key, equals, value = record[len(length) + 1 : -1].partition(b"=")
        if not equals or not record.endswith(b"\n") or len(record) != int(length):
            raise ArchiveRefused("it is no whole .tar.gz: an extended header cannot be read")
        at += len(record)
        if key == b"path":
            found.name = _text(value)
        elif key == b"linkpath":
            found.link = _text(value)
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:  # noqa: PLR2004 - as above
                raise ArchiveRefused(f"it has a member of the size {_text(value)[:40]!r}")
            found.size = int(value)
        elif key.startswith(b"GNU.sparse."):
            raise ArchiveRefused("it has a sparse file, which is not taken")
    return found


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
