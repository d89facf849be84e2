"""Objects on their way: into files and out of them, in parts where they are large.

Nothing of an object is held in memory but what is being written or sent. A file is its owner's again on
return, whatever is still on its way then: the threads that move its parts find it shut.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import IO, Any, Final

from tunesmith.runner.locations import S3Location
from tunesmith.runner.s3_client import S3Connection, S3Failure, s3_errors
from tunesmith.runner.s3_requests import Check, ask, ask_all
from tunesmith.runner.threads import WorkUnwanted

#: Of a part, beyond which an object has several; more of one that would have more parts than S3 takes.
_PART_BYTES: Final = 8 * 1024 * 1024
_PARTS_MAX: Final = 10_000
#: Parts of one object that are asked for at a time.
_PARTS: Final = 4
#: How often an object is fetched that changes meanwhile.
_VERSIONS_MAX: Final = 3
_CHUNK_BYTES: Final = 256 * 1024
#: How long is waited for S3 to forget the parts of an object that could not be stored.
_ABORT_S: Final = 5.0


def download_into(location: S3Location, key: str, file: IO[bytes], check: Check) -> None:
    """Copy an object into a new file; its position stays where it is.

    Args:
        location: Says which bucket.
        key: The object's.
        file: Empty, and not written to by anybody else.
        check: Called by several threads at a time, with the bytes that were written since.

    An object that changes meanwhile is fetched anew, so that what is there is of one version.

    Raises:
        S3Failure: It could not be read, or changed every time.
    """
    counted = _Counted(check)
    for _ in range(_VERSIONS_MAX):
        if _fetch_version(location, key, file, counted.attempt()):
            return
    raise S3Failure(
        f"the object {key!r} changed while it was read, {_VERSIONS_MAX} times", is_mistake=False
    )


def _fetch_version(location: S3Location, key: str, file: IO[bytes], check: Check) -> bool:
    """Fetch the object as it is now; false: it was replaced before it was whole."""
    connection = location.connection
    patience_s = connection.patience.reading_s
    with _lent(file.fileno()) as lent:
        first = _Download(location, key, lent, check, at=0, end=_PART_BYTES)
        size, etag = ask(connection, first.whole, check=check, patience_s=patience_s)
        parts = (
            partial(
                _Download(location, key, lent, check, at=at, end=min(at + _PART_BYTES, size)).part,
                etag,
            )
            for at in range(_PART_BYTES, size, _PART_BYTES)
        )
        try:
            for _ in ask_all(
                connection, parts, check=check, patience_s=patience_s, at_a_time=_PARTS
            ):
                pass
        except S3Failure as failure:
            if failure.status != HTTPStatus.PRECONDITION_FAILED:
                raise
            return False
        # An attempt that broke off may have been at a longer version.
        lent.cut(size)
    return True


class _Counted:
    """Tell of the bytes of several attempts at an object only once."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._told = 0

    def attempt(self) -> Check:
        """Begin to count anew; only what is more than in all attempts before is told."""
        fetched = 0

        def count(more: int) -> None:
            nonlocal fetched
            with self._lock:
                fetched += more
                untold = max(fetched - self._told, 0)
                self._told += untold
            self._check(untold)

        return count


def upload_from(
    location: S3Location,
    key: str,
    content: bytes | IO[bytes],
    check: Check,
    *,
    metadata: Mapping[str, str],
    patience_s: float,
) -> None:
    """Store bytes, or all of a file, as an object.

    Raises:
        S3Failure: It could not be stored; what was there before is there still.
        OSError: The file could not be read.
    """
    place = {"Bucket": location.bucket, "Key": key}
    options: dict[str, Any] = {"Metadata": dict(metadata)}
    if location.kms_key_id:
        options |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": location.kms_key_id}
    connection = location.connection
    if isinstance(content, bytes):
        put = partial(_put, place | options, lambda: io.BytesIO(content))
        ask(connection, put, check=check, patience_s=patience_s)
        return
    size = os.fstat(content.fileno()).st_size
    with _lent(content.fileno()) as lent:
        if size <= _PART_BYTES:
            put = partial(_put, place | options, lambda: _Slice(lent, 0, size))
            ask(connection, put, check=check, patience_s=patience_s)
        else:
            _Upload(connection, place, lent, size=size, check=check, patience_s=patience_s).store(
                options
            )


class _Lent:
    """A file as other threads have it until its owner takes it back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._is_lent = True

    def take_back(self) -> None:
        with self._lock:
            self._is_lent = False

    def write(self, chunk: bytes, at: int) -> None:
        with self._lock:
            self._check()
            view = memoryview(chunk)
            while view:
                count = os.pwrite(self._descriptor, view, at)
                view, at = view[count:], at + count

    def cut(self, size: int) -> None:
        with self._lock:
            self._check()
            os.ftruncate(self._descriptor, size)

    def read(self, size: int, at: int) -> bytes:
        with self._lock:
            self._check()
            chunk = os.pread(self._descriptor, size, at)
        if not chunk:
            raise OSError("the file became shorter while it was stored")
        return chunk

    def _check(self) -> None:
        # The number may be another file's by now.
        if not self._is_lent:
            raise WorkUnwanted


@contextmanager
def _lent(descriptor: int) -> Iterator[_Lent]:
    lent = _Lent(descriptor)
    try:
        yield lent
    finally:
        lent.take_back()


class _Download:
    """Fetch a part of an object; of one that is fetched again no byte is counted twice."""

    def __init__(
        self, location: S3Location, key: str, lent: _Lent, check: Check, *, at: int, end: int
    ) -> None:
        self._place = {"Bucket": location.bucket, "Key": key}
        self._key = key
        self._lent = lent
        self._check = check
        self._at = at
        self._end = end
        self._counted = at

    def whole(self, client: Any) -> tuple[int, str | None]:
        """Ask for the object, take its first part, and tell how large it is and its version."""
        answer = client.get_object(**self._place)
        self._copy(answer["Body"])
        return answer["ContentLength"], answer.get("ETag")

    def part(self, etag: str | None, client: Any) -> None:
        """Ask for this part of a version."""
        version = {"IfMatch": etag} if etag else {}
        span = f"bytes={self._at}-{self._end - 1}"
        answer = client.get_object(**self._place, Range=span, **version)
        if not answer.get("ContentRange", "").startswith(f"bytes {self._at}-"):
            answer["Body"].close()
            said = f"S3 gives another part of {self._key!r} than it was asked for"
            raise S3Failure(said, is_mistake=True)
        self._copy(answer["Body"])

    def _copy(self, body: Any) -> None:
        at = self._at
        try:
            while at < self._end and (chunk := body.read(min(_CHUNK_BYTES, self._end - at))):
                self._lent.write(chunk, at)
                at += len(chunk)
                self._check(max(at - self._counted, 0))
                self._counted = max(at, self._counted)
        finally:
            # Of a large object the first part is taken only: its connection is given up.
            body.close()


class _Slice(io.RawIOBase):
    """A part of a file, as boto3 wants a body: it is measured, read, and read again."""

    def __init__(self, lent: _Lent, start: int, end: int) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._lent = lent
        self._start = start
        self._size = end - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        try:
            chunk = self._lent.read(wanted, self._start + self._at)
        except (OSError, WorkUnwanted) as error:
            # boto3 would call it a broken connection.
            self.error = error
            raise
        buffer[: len(chunk)] = chunk
        self._at += len(chunk)
        return len(chunk)


class _Upload:
    """Store a large file in parts."""

    def __init__(
        self,
        connection: S3Connection,
        place: Mapping[str, str],
        lent: _Lent,
        *,
        size: int,
        check: Check,
        patience_s: float,
    ) -> None:
        self._connection = connection
        self._place = dict(place)
        self._lent = lent
        self._size = size
        self._part_bytes = max(_PART_BYTES, -(-size // _PARTS_MAX))
        self._check = check
        self._patience_s = patience_s

    def store(self, options: Mapping[str, Any]) -> None:
        begun = self._ask(
            lambda client: client.create_multipart_upload(
                **self._place, **options, **_checksum(client)
            )
        )
        place = {**self._place, "UploadId": begun["UploadId"]}
        starts = range(0, self._size, self._part_bytes)
        try:
            parts = list(
                ask_all(
                    self._connection,
                    (partial(self._part, place, number, at) for number, at in enumerate(starts, 1)),
                    check=self._check,
                    patience_s=self._patience_s,
                    at_a_time=_PARTS,
                )
            )
            parts.sort(key=lambda part: part["PartNumber"])
            self._ask(_Completion(place, parts, self._size).make)
        except BaseException as error:
            self._abort(place, is_wanted=not isinstance(error, WorkUnwanted))
            raise

    def _part(self, place: Mapping[str, str], number: int, at: int, client: Any) -> dict[str, Any]:
        end = min(at + self._part_bytes, self._size)
        answer = _sent(
            client.upload_part,
            {**place, "PartNumber": number, **_checksum(client)},
            _Slice(self._lent, at, end),
        )
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return part

    def _ask(self, request: Callable[[Any], Any]) -> Any:
        return ask(self._connection, request, check=self._check, patience_s=self._patience_s)

    def _abort(self, place: Mapping[str, str], *, is_wanted: bool) -> None:
        """Have the parts forgotten, as far as S3 hears of it."""

        def forget() -> None:
            with s3_errors():
                self._connection.client().abort_multipart_upload(**place)

        # What goes wrong here is less than what is being told.
        with suppress(Exception):
            forgotten = self._connection.pool.submit(self._connection.trial, forget)
            if is_wanted:
                forgotten.exception(timeout=_ABORT_S)


class _Completion:
    """Make an object of its parts; made again, it may have been made before."""

    def __init__(self, place: Mapping[str, str], parts: list[dict[str, Any]], size: int) -> None:
        self._place = dict(place)
        self._parts = parts
        self._size = size
        self._is_repeated = False

    def make(self, client: Any) -> None:
        from botocore.exceptions import ClientError

        try:
            client.complete_multipart_upload(**self._place, MultipartUpload={"Parts": self._parts})
        except ClientError as error:
            is_gone = error.response.get("Error", {}).get("Code") == "NoSuchUpload"
            if not (self._is_repeated and is_gone and self._is_made(client)):
                raise
        finally:
            self._is_repeated = True

    def _is_made(self, client: Any) -> bool:
        """Tell whether the object is there, as of an attempt whose answer was lost."""
        found = client.head_object(Bucket=self._place["Bucket"], Key=self._place["Key"])
        is_of_parts = found["ETag"].strip('"').endswith(f"-{len(self._parts)}")
        return bool(found["ContentLength"] == self._size and is_of_parts)


def _put(options: Mapping[str, Any], body: Callable[[], io.IOBase], client: Any) -> None:
    _sent(client.put_object, {**options, **_checksum(client)}, body())


def _sent(call: Callable[..., Any], options: Mapping[str, Any], body: io.IOBase) -> Any:
    """Send a body, and raise what its file says rather than what boto3 makes of it."""
    try:
        return call(**options, Body=body)
    except Exception:
        error = getattr(body, "error", None)
        if error is not None:
            raise error from None
        raise


def _checksum(client: Any) -> dict[str, str]:
    """Name the checksum that boto3 sends with parts: S3 has to be told before the first."""
    if client.meta.config.request_checksum_calculation != "when_supported":
        return {}
    return {"ChecksumAlgorithm": "CRC32"}
