"""A trial's checkpoints in a bucket.

An object is there whole or not at all. Files are stored one after the other in the order in which they
were changed, so that one that points to another arrives after it; each by way of a copy, so that one
that changes while it is read is left for the next time. A file's time travels in the object's metadata,
and so does where a link leads. Directories are not stored: what is in them makes them.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, unquote

from tunesmith.runner.checkpoint_tree import (
    READ,
    Check,
    DirectoryEntry,
    FileEntry,
    LinkEntry,
    Tree,
    file_entry,
    inner_link,
    scan,
)
from tunesmith.runner.errors import PATH_MISTAKES, FailureKind, TrialFailure, failure_of_os_error
from tunesmith.runner.locations import S3Location
from tunesmith.runner.s3_client import S3Failure
from tunesmith.runner.s3_requests import ask
from tunesmith.runner.s3_storage import (
    SharedCheck,
    delete,
    download,
    in_threads,
    listed,
    local_path,
    twice,
    upload,
)

_CHUNK_BYTES: Final = 4 * 1024 * 1024
#: A lease is a number; a longer object is none of ours.
_LEASE_BYTES: Final = 32
#: Metadata of ours, in S3's spelling. Times are in nanoseconds since 1970; links are quoted, since
#: metadata are ASCII.
_MODIFIED: Final = "tunesmith-mtime-ns"
_LINK: Final = "tunesmith-link"


class S3Checkpoints:
    """Keep one attempt's checkpoints in step with a bucket; see ``checkpoints.Checkpoints``.

    Args:
        local: The trial's own directory.
        stored: Below what key they are kept, ``<S3Uri>/<training job>``.
        lease: The key under which it is noted whose they are.
        scratch: A directory on the disk where copies may take room.
        lease_token: Of this attempt.
    """

    def __init__(
        self,
        *,
        local: Path,
        stored: S3Location,
        lease: S3Location,
        scratch: Path,
        lease_token: int,
    ) -> None:
        self._local = local
        self._stored = stored
        self._lease = lease
        self._scratch = scratch
        self._lease_token = lease_token
        self._known: Tree = {}

    @property
    def local(self) -> Path:
        """Name the trial's own directory."""
        return self._local

    def restore(self, *, check: Check) -> None:
        """Take the store over from earlier attempts, and copy what it holds into the trial's tree.

        Raises:
            TrialFailure: The place cannot be used.
            OSError: The trial's own disk is in trouble.
        """
        self._local.mkdir(parents=True, exist_ok=True)
        shared = SharedCheck(check)
        links: dict[str, str] = {}
        try:
            self._take_over(check)
            for objects in listed(self._stored, shared):
                paths = (
                    (key, local_path(self._stored, key, size, self._local))
                    for key, size in objects.items()
                )
                files = [(key, path) for key, path in paths if path is not None]
                in_threads(files, lambda file: self._fetch(*file, links, shared), check=shared)
        except S3Failure as error:
            doing = "the checkpoints cannot be used"
            raise failure_of_os_error(error, doing=doing, mistakes=PATH_MISTAKES) from error
        # When all files are there, so that none is written through one.
        for name, target in links.items():
            self._link(name, target)
        self._known = scan(self._local, check)

    def store(self, *, check: Check) -> None:
        """Bring what is stored into step with the trial's directory; durable on return.

        Nothing is done any more once a later attempt has taken over.

        Raises:
            OSError: Something could not be read or written; the next call tries again.
        """
        found = scan(self._local, check)
        changed = {name: entry for name, entry in found.items() if self._known.get(name) != entry}
        gone = _objects(self._known) - _objects(found)
        if not changed and not gone:
            return
        if self._lease_noted(check) != self._lease_token:
            return
        unread: set[str] = set()
        files = [(entry, name) for name, entry in changed.items() if isinstance(entry, FileEntry)]
        for entry, name in sorted(files, key=lambda each: (each[0].modified_ns, each[1])):
            if not self._put_file(name, entry, check):
                unread.add(name)
        for name, link in changed.items():
            if isinstance(link, LinkEntry):
                self._put(name, b"", {_LINK: quote(link.target)}, check)
        delete(
            self._stored,
            (self._key(name) for name in gone),
            check,
            patience_s=self._patience_s,
        )
        self._known = {name: entry for name, entry in found.items() if name not in unread}

    def _put_file(self, name: str, expected: FileEntry, check: Check) -> bool:
        """Store a file as it was found; False: it is not that file any more."""
        try:
            descriptor = os.open(self._local / name, READ)
        except (FileNotFoundError, NotADirectoryError):
            return False
        with (
            os.fdopen(descriptor, "rb", buffering=0) as reader,
            tempfile.TemporaryFile(dir=self._scratch) as copy,
        ):
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode) or file_entry(info) != expected:
                return False
            while chunk := reader.read(_CHUNK_BYTES):
                copy.write(chunk)
                check(len(chunk))
            if file_entry(os.fstat(descriptor)) != expected:
                return False
            copy.flush()
            self._put(name, copy, {_MODIFIED: str(expected.modified_ns)}, lambda _: check(0))
        return True

    def _put(
        self, name: str, content: bytes | IO[bytes], metadata: Mapping[str, str], check: Check
    ) -> None:
        upload(
            self._stored,
            self._key(name),
            content,
            check,
            metadata=metadata,
            patience_s=self._patience_s,
        )

    def _fetch(self, key: str, path: Path, links: dict[str, str], check: Check) -> None:
        """Copy an object into the trial's tree, or note the link that it is."""
        found = ask(
            self._stored.connection,
            lambda client: client.head_object(Bucket=self._stored.bucket, Key=key),
            check=check,
            patience_s=self._patience_s,
        )
        metadata = found.get("Metadata", {})
        if _LINK in metadata:
            links[os.fspath(path.relative_to(self._local))] = unquote(metadata[_LINK])
            return
        download(self._stored, key, path, check)
        # A program may look for its newest checkpoint by the time.
        modified_ns = int(found["LastModified"].timestamp() * 1e9)
        with suppress(ValueError):
            modified_ns = int(metadata.get(_MODIFIED, modified_ns))
        with suppress(OverflowError):
            os.utime(path, ns=(modified_ns, modified_ns))

    def _link(self, name: str, target: str) -> None:
        """Make a link, unless it leads out of the directory, or nowhere."""
        path = self._local / name
        try:
            path.symlink_to(target)
        except FileExistsError as error:
            raise twice(self._key(name)) from error
        except (OSError, ValueError):
            return
        if inner_link(self._local.resolve(), path) is None:
            path.unlink()

    def _take_over(self, check: Check) -> None:
        """Note down whose the store is from now on.

        Raises:
            TrialFailure: It is a later attempt's already.
            S3Failure: It cannot be noted down.
        """
        if self._lease_noted(check) > self._lease_token:
            raise TrialFailure(
                FailureKind.INTERNAL, "a later attempt at the training job has its checkpoints"
            )
        noted = str(self._lease_token).encode("ascii")
        upload(self._lease, self._lease.key, noted, check, patience_s=self._patience_s)

    def _lease_noted(self, check: Check) -> int:
        """Look whose the store is; 0: nobody's."""

        def read(client: Any) -> bytes:  # boto3 has no types
            answer = client.get_object(Bucket=self._lease.bucket, Key=self._lease.key)
            with answer["Body"] as body:
                return bytes(body.read(_LEASE_BYTES))

        try:
            return int(ask(self._lease.connection, read, check=check, patience_s=self._patience_s))
        except S3Failure as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return 0
            raise
        except ValueError:
            return 0

    @property
    def _patience_s(self) -> float:
        # What cannot be stored is stored the next time: no more patience than for reading.
        return self._stored.connection.patience.reading_s

    def _key(self, name: str) -> str:
        return self._stored.below(name).key


def _objects(tree: Tree) -> set[str]:
    return {name for name, entry in tree.items() if not isinstance(entry, DirectoryEntry)}
