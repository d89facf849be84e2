"""Keys of a bucket as the place of channels, archives and artifacts.

An object is there whole or not at all, which S3 sees to; of several, one after the other. Some files are
in transfer at a time; how they travel is in ``s3_transfers``.
"""

from __future__ import annotations

import errno
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
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
from tunesmith.runner.s3_client import S3Failure
from tunesmith.runner.s3_requests import ask
from tunesmith.runner.s3_transfers import download_into, upload_from
from tunesmith.runner.stored_tree import walk
from tunesmith.runner.threads import WorkUnwanted

_T = TypeVar("_T")

#: Files of one trial that travel at a time.
_FILES: Final = 8
#: What one call lists or deletes at most.
_KEYS: Final = 1000
#: Of a key in a message, in characters.
_SHOWN: Final = 200


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
        connection, bucket = self._location.connection, self._location.bucket
        doing = f"{member} is {self._uri!r}"
        try:
            ask(
                connection,
                lambda client: client.head_bucket(Bucket=bucket),
                check=connection.trial.check,
                patience_s=connection.patience.reading_s,
            )
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
                download_into(self._location, self._location.key, file, SharedCheck(check))
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
                self._fetch_one(target / name, shared)

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
            file.flush()
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
            in_threads(files, lambda file: _upload_path(place, *file, shared), check=shared)
            keys.update(key for key, _ in files)
        for objects in listed(place, shared):
            delete(place, objects.keys() - keys, shared)

    def _fetch_one(self, path: Path, check: SharedCheck) -> None:
        """Copy the one object that the key names.

        Raises:
            TrialFailure: There is none, but keys that begin so.
        """
        location = self._location
        try:
            download(location, location.key, path, check)
        except S3Failure as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            begun = _page(location, location.key, check, keys=1).get("Contents", [])
            if not begun:
                raise
            raise TrialFailure(
                FailureKind.CLIENT,
                f"cannot read {self._uri}: there is no such key, and nothing below it. Keys begin "
                f"so, as {begun[0]['Key']!r} does, but a URI names one file or one directory here, "
                "not all names that begin alike: name one of them, or put the files under a key of "
                "their own",
            ) from error

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
    except OSError as error:
        raise unusable(key, error) from error
    return None if is_directory else path


def listed(location: S3Location, check: Callable[[int], None]) -> Iterator[dict[str, int]]:
    """List what is below a key: sizes by key, some at a time, in the order of keys.

    Raises:
        S3Failure: It cannot be listed.
    """
    prefix = f"{location.key}/" if location.key else ""
    token = ""
    while True:
        page = _page(location, prefix, check, keys=_KEYS, token=token)
        if objects := {each["Key"]: each["Size"] for each in page.get("Contents", [])}:
            yield objects
        before, token = token, page.get("NextContinuationToken", "")
        if not token:
            return
        if token == before:
            raise S3Failure("S3 gives the same page of keys again and again", is_mistake=True)


def _page(
    location: S3Location,
    prefix: str,
    check: Callable[[int], None],
    *,
    keys: int,
    token: str = "",
) -> Any:  # boto3 has no types
    options = {"ContinuationToken": token} if token else {}
    return ask(
        location.connection,
        lambda client: client.list_objects_v2(
            Bucket=location.bucket, Prefix=prefix, MaxKeys=keys, **options
        ),
        check=check,
        patience_s=location.connection.patience.reading_s,
    )


def upload(
    location: S3Location,
    key: str,
    content: bytes | IO[bytes],
    check: Callable[[int], None],
    *,
    metadata: Mapping[str, str] | None = None,
    patience_s: float | None = None,
) -> None:
    """Store bytes, or all of a file, as an object.

    Args:
        location: Says which bucket.
        key: The object's.
        content: What to store.
        check: Asked whether to go on.
        metadata: Of the object.
        patience_s: With an S3 that is away; ``None``: as for models.

    Raises:
        S3Failure: It could not be stored; what was there before is there still.
        OSError: The file could not be read.
    """
    check(0)
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise S3Failure(f"{key!r} is not Unicode, as keys are", is_mistake=True) from error
    if patience_s is None:
        patience_s = location.connection.patience.storing_s
    upload_from(location, key, content, check, metadata=metadata or {}, patience_s=patience_s)


def delete(
    location: S3Location,
    keys: Iterable[str],
    check: Callable[[int], None],
    *,
    patience_s: float | None = None,
) -> None:
    """Delete objects; those that are not there are no error.

    Args:
        location: Says which bucket.
        keys: The objects'.
        check: Asked whether to go on.
        patience_s: As for ``upload``.

    Raises:
        S3Failure: S3 refused one.
    """
    if patience_s is None:
        patience_s = location.connection.patience.storing_s
    for some in _some_at_a_time(sorted(keys)):
        objects = [{"Key": key} for key in some]
        answer = ask(
            location.connection,
            partial(_delete, location.bucket, objects),
            check=check,
            patience_s=patience_s,
        )
        for refused in answer.get("Errors", []):
            said = f"S3 says {refused.get('Code')} of {refused.get('Key')}"
            raise S3Failure(said, is_mistake=True)


def _delete(bucket: str, objects: list[dict[str, str]], client: Any) -> Any:  # boto3 has no types
    return client.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})


def _upload_path(location: S3Location, key: str, path: Path, check: Callable[[int], None]) -> None:
    with path.open("rb") as file:
        upload(location, key, file, check)


def download(location: S3Location, key: str, path: Path, check: Callable[[int], None]) -> None:
    """Copy an object into a file.

    Raises:
        S3Failure: It could not be read; there is no file then.
        TrialFailure: A directory is in its place, or the key can be no file.
    """
    try:
        file = path.open("wb")
    except OSError as error:
        raise unusable(key, error) from error
    try:
        with file:
            download_into(location, key, file, check)
    except BaseException:
        # Half a file is none.
        path.unlink(missing_ok=True)
        raise


def unusable(key: str, error: OSError) -> Exception:
    """Tell a key that can be no file here from the host's own trouble."""
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return twice(key)
    if error.errno in {errno.ENAMETOOLONG, errno.EILSEQ}:
        shown = key if len(key) <= _SHOWN else f"{key[:_SHOWN]}..."
        return TrialFailure(
            FailureKind.CLIENT, f"the key {shown!r} can be no file here: {error.strerror}"
        )
    return error


def twice(key: str) -> TrialFailure:
    """Refuse a key that other keys make a directory of."""
    return TrialFailure(FailureKind.CLIENT, f"the key {key!r} is a file and a directory")


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
    with ThreadPoolExecutor(min(_FILES, max(len(files), 1)), "runner-file") as pool:
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
