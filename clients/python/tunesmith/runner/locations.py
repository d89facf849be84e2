"""URIs of requests and the directories that they name on this runner.

``file://`` names a path itself. ``s3://`` names one where the runner has a directory in the place of
the bucket; no bucket is reached over a network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

from tunesmith.runner.errors import FailureKind, TrialFailure

Buckets: TypeAlias = Mapping[str, Path]
"""Absolute directories that stand for buckets, by the bucket's name."""

_S3_URI: Final = re.compile(r"s3://([^/]*)/?(.*)", re.DOTALL)


def path_of_uri(uri: str, *, member: str, buckets: Buckets) -> Path:
    """Find the local path that a URI names.

    Args:
        uri: What the request has.
        member: The request's member that has it, for the message.
        buckets: What stands for buckets here.

    Raises:
        TrialFailure: It is neither a ``file://`` URI of an absolute local path nor an ``s3://`` one
            of a bucket that has a directory here, or its key can be no path.
    """
    if (found := _S3_URI.fullmatch(uri)) is not None:
        return _path_of_key(uri, bucket=found[1], key=found[2], member=member, buckets=buckets)
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    path = unquote(parts.path)
    local = parts.scheme == "file" and parts.netloc in {"", "localhost"}
    if not local or not path.startswith("/") or "\0" in path or parts.query or parts.fragment:
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: this runner takes file:///absolute/path, with '?', '#' and '%' "
            "written as %3F, %23 and %25, and s3://bucket/key of its own buckets",
        )
    return Path(path)


def _path_of_key(uri: str, *, bucket: str, key: str, member: str, buckets: Buckets) -> Path:
    """Find what a key is in the directory of its bucket; a key is taken as it is written."""
    directory = buckets.get(bucket)
    if directory is None:
        known = f" It has {', '.join(sorted(buckets))}." if buckets else ""
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: this runner has no directory for the bucket {bucket!r}.{known} "
            f'Give it one: [buckets."{bucket}"] path = "/a/directory" in tunesmith.toml, or '
            f"tunesmith runner --bucket {bucket}=/a/directory",
        )
    if not directory.is_dir():
        # Not made: it may be a disk that is not mounted.
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: {directory}, which stands for the bucket, is no directory",
        )
    parts = key.removesuffix("/").split("/") if key else []
    if "\0" in key or any(part in {"", ".", ".."} for part in parts):
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: a directory stands for the bucket, and the key is no path in it; "
            "leave out '.', '..', '//' and NUL",
        )
    return directory.joinpath(*parts)
