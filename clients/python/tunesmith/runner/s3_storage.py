"""Keys of a bucket as the place of channels, archives and artifacts.

An object is there whole or not at all, which S3 sees to; of several, one after the other. Some files are
in transfer at a time, and some parts of a large one, so that memory is bounded whatever there is to
move. boto3 tries again what fails on the way.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from tunesmith.runner.errors import (
    PATH_MISTAKES,
    FailureKind,
    TrialFailure,
    failure_of_os_error,
)
from tunesmith.runner.locations import S3Location, key_parts
from tunesmith.runner.s3_client import S3Failure, s3_errors
from tunesmith.runner.stored_tree import walk
from tunesmith.runner.threads import WorkUnwanted

_T = TypeVar("_T")

#: Parts of a large file that travel at a time, and files. boto3 has twice to three times as many parts in
#: memory, of 8 MiB each, and larger ones only of a file beyond 80 GB.
_PARTS: Final = 4
_FILES: Final = 8
#: What one call lists or deletes at most.
_KEYS: Final = 1000


class S3Storage:
    """Read from and write to a key, or below it; see ``storage.Storage``.

    Args:
        location: The key.
        uri: The same as the request spells it.
    """

    def __init__(self, location: S3Location, *, uri: str) -> None:
        self._location = location
        self._uri = uri

    def check_writable(self, member: str) -> None:
        """Look whether the bucket is there; whether it takes anything is not to be seen.

        Raises:
            TrialFailure: It is not, or cannot be reached.
        """
        client = self._location.connection.client()
        doing = f"{member} is {self._uri!r}"
        try:
            with s3_errors(_nothing):
                client.head_bucket(Bucket=self._location.bucket)
        except S3Failure as error:
            if error.status == HTTPStatus.FORBIDDEN:
                return  # Who may store need not be allowed to look.
            if error.status == HTTPStatus.NOT_FOUND:
                raise TrialFailure(
                    FailureKind.CLIENT, f"{doing}: there is no bucket {self._location.bucket!r}"
                ) from error
            raise failure_of_os_error(error, doing=doing, mistakes=PATH_MISTAKES) from error

    @contextmanager
    def opened(self, *, scratch: Path, check: Callable[[int], None]) -> Iterator[IO[bytes]]:
        """Open a copy of the object.

        Raises:
            TrialFailure: There is none, or it cannot be read.
        """
        with tempfile.TemporaryFile(dir=scratch) as file:
            with self._reading():
                _download(self._location, self._location.key, file, SharedCheck(check))
            file.seek(0)
            yield file

    def fetch_tree(self, target: Path, *, check: Callable[[int], None]) -> None:
        """Copy an object, or all below the key, into a directory.

        Raises:
            TrialFailure: There is none, one cannot be read, or its key can be no path.
            OSError: The target cannot be written.
        """
        location = self._location
        shared = SharedCheck(check)
        with self._reading():
            is_found = False
            for objects in listed(location, shared):
                is_found = True
                files = []
                for key, size in objects.items():
                    path = local_path(location, key, size, target)
                    if path is not None:
                        files.append((key, path))
                in_threads(files, lambda file: download(location, *file, shared), check=shared)
            if not is_found:
                name = location.key.rpartition("/")[2]
                if not name:
                    raise TrialFailure(FailureKind.CLIENT, f"there is nothing in {self._uri}")
                download(location, location.key, target / name, shared)

    def store_file(
        self,
        name: str,
        write: Callable[[IO[bytes]], None],
        *,
        scratch: Path,
        check: Callable[[int], None],
    ) -> None:
        """Store an object under a name here, by way of a file.

        Raises:
            OSError: It could not be.
        """
        with tempfile.TemporaryFile(dir=scratch) as file:
            write(file)
            file.seek(0)
            upload(self._location, self._location.below(name).key, file, check)

    def store_tree(self, name: str, source: Path, *, check: Callable[[int], None]) -> None:
        """Store the files in a directory under a name here, then delete what else is there.

        There are no links in a bucket: one to a file is stored as that file, and one to a directory
        is left out.

        Raises:
            OSError: Something could not be stored.
        """
        place = self._location.below(name)
        shared = SharedCheck(check)
        keys: set[str] = set()
        for paths in _some_at_a_time(walk(source)):
            files = [
                (place.below(*each.relative_to(source).parts).key, each)
                for each in paths
                if each.is_file()
            ]
            in_threads(files, lambda file: _upload_from(place, *file, shared), check=shared)
            keys.update(key for key, _ in files)
        for objects in listed(place, shared):
            delete(place, objects.keys() - keys, shared)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except S3Failure as error:
            doing = f"cannot read {self._uri}"
            raise failure_of_os_error(error, doing=doing, mistakes=PATH_MISTAKES) from error


def local_path(location: S3Location, key: str, size: int, target: Path) -> Path | None:
    """Find the file for a key below a location, and make its directory.

    Args:
        location: What is copied into the target.
        key: An object's, below it.
        size: The object's.
        target: A directory.

    Returns:
        None for an object that stands for a directory, which is made.

    Raises:
        TrialFailure: The key can be no file, or is one and a directory.
    """
    prefix = f"{location.key}/" if location.key else ""
    parts = key_parts(key.removeprefix(prefix))
    is_directory = key.endswith("/")
    if parts is None or (is_directory and size):
        raise TrialFailure(
            FailureKind.CLIENT,
            f"bucket {location.bucket!r} has the key {key!r}, which can be no file",
        )
    path = target.joinpath(*parts)
    try:
        (path if is_directory else path.parent).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise twice(key) from error
    return None if is_directory else path


def listed(location: S3Location, check: Callable[[int], None]) -> Iterator[dict[str, int]]:
    """List what is below a key: sizes by key, some at a time, in the order of keys.

    Raises:
        S3Failure: It cannot be listed.
    """
    pages = location.connection.client().get_paginator("list_objects_v2")
    prefix = f"{location.key}/" if location.key else ""
    with s3_errors(check):
        for page in pages.paginate(
            Bucket=location.bucket, Prefix=prefix, PaginationConfig={"PageSize": _KEYS}
        ):
            check(0)
            if objects := {each["Key"]: each["Size"] for each in page.get("Contents", [])}:
                yield objects


def upload(
    location: S3Location,
    key: str,
    file: IO[bytes],
    check: Callable[[int], None],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Store what a file has from its position on as an object.

    Raises:
        S3Failure: It could not be stored; what was there before is there still.
    """
    client = location.connection.client()
    check(0)
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise S3Failure(f"{key!r} is not Unicode, as keys are", is_mistake=True) from error
    encryption = {}
    if location.kms_key_id:
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": location.kms_key_id}
    with s3_errors(check):
        client.upload_fileobj(
            file,
            location.bucket,
            key,
            ExtraArgs={"Metadata": dict(metadata or {}), **encryption},
            Callback=check,
            Config=_transfer(),
        )


def delete(location: S3Location, keys: Iterable[str], check: Callable[[int], None]) -> None:
    """Delete objects; those that are not there are no error.

    Raises:
        S3Failure: S3 refused one.
    """
    client = location.connection.client()
    for some in _some_at_a_time(sorted(keys)):
        with s3_errors(check):
            answer = client.delete_objects(
                Bucket=location.bucket,
                Delete={"Objects": [{"Key": key} for key in some], "Quiet": True},
            )
        for refused in answer.get("Errors", []):
            said = f"S3 says {refused.get('Code')} of {refused.get('Key')}"
            raise S3Failure(said, is_mistake=True)


def _upload_from(location: S3Location, key: str, path: Path, check: Callable[[int], None]) -> None:
    with path.open("rb") as file:
        upload(location, key, file, check)


def download(location: S3Location, key: str, path: Path, check: Callable[[int], None]) -> None:
    """Copy an object into a file.

    Raises:
        S3Failure: It could not be read; there is no file then.
        TrialFailure: A directory is in its place.
    """
    try:
        file = path.open("wb")
    except IsADirectoryError as error:
        raise twice(key) from error
    try:
        with file:
            _download(location, key, file, check)
    except BaseException:
        # Half a file is none.
        path.unlink(missing_ok=True)
        raise


def _download(
    location: S3Location, key: str, file: IO[bytes], check: Callable[[int], None]
) -> None:
    client = location.connection.client()
    with s3_errors(check):
        client.download_fileobj(location.bucket, key, file, Callback=check, Config=_transfer())


def _transfer() -> Any:  # boto3 has no types
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        max_concurrency=_PARTS,
        preferred_transfer_client="classic",  # the other has no client settings, errors or callbacks
    )


def twice(key: str) -> TrialFailure:
    """Refuse a key that other keys make a directory of."""
    return TrialFailure(FailureKind.CLIENT, f"the key {key!r} is a file and a directory")


def _nothing(_: int) -> None:
    """Never object."""


class SharedCheck:
    """Let several threads ask whether to go on; once one has heard no, all do."""

    def __init__(self, check: Callable[[int], None]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._has_ended = False

    def __call__(self, count: int) -> None:
        """Ask.

        Raises:
            WorkUnwanted: Another thread has heard no.
        """
        with self._lock:
            if self._has_ended:
                raise WorkUnwanted
            try:
                self._check(count)
            except BaseException:
                self._has_ended = True
                raise

    def end(self) -> None:
        """Tell all threads to end."""
        with self._lock:
            self._has_ended = True


def in_threads(
    files: list[tuple[str, Path]],
    move: Callable[[tuple[str, Path]], None],
    *,
    check: SharedCheck,
) -> None:
    """Move files, some at a time; the first failure ends all."""
    with ThreadPoolExecutor(min(_FILES, max(len(files), 1)), "runner-s3") as pool:
        moves = [pool.submit(move, file) for file in files]
        _, pending = wait(moves, return_when=FIRST_EXCEPTION)
        if pending:
            check.end()
            pool.shutdown(cancel_futures=True)
    failures = [each.exception() for each in moves if not each.cancelled()]
    # Others say only that they were told to end.
    for failure in sorted(filter(None, failures), key=lambda each: isinstance(each, WorkUnwanted)):
        raise failure


def _some_at_a_time(items: Iterable[_T]) -> Iterator[list[_T]]:
    left = iter(items)
    while some := list(islice(left, _KEYS)):
        yield some
