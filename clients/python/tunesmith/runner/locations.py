"""URIs of requests and the places that they name for this runner.

``file://`` names a path itself. ``s3://`` names one where the runner has a directory in the place of
the bucket, and otherwise a key of a bucket that it reaches over the network, if it may.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from tunesmith.file_uris import path_of_file_uri
from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.s3_client import ALL_OTHER_BUCKETS, S3Connection

Buckets: TypeAlias = Mapping[str, Path | S3Connection]
"""By a bucket's name the absolute directory that stands for it, or how it is reached.

``ALL_OTHER_BUCKETS`` stands for those without an entry.
"""

_S3_URI: Final = re.compile(r"s3://([^/]*)/?(.*)", re.DOTALL)
_BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """Name a key, or all keys below one, in a bucket that is reached over the network.

    Attributes:
        connection: How.
        bucket: The bucket's name.
        key: Without a slash at either end; empty: the whole bucket.
        kms_key_id: What is stored is encrypted with, by KMS; empty: as the bucket has it.
    """

    connection: S3Connection
    bucket: str
    key: str
    kms_key_id: str = ""

    def below(self, *parts: str) -> S3Location:
        """Name a place within."""
        return replace(self, key="/".join([*filter(None, [self.key]), *parts]))


def locate(uri: str, *, member: str, buckets: Buckets) -> Path | S3Location:
    """Find the place that a URI names; nothing is asked of it yet.

    Args:
        uri: What the request has.
        member: The request's member that has it, for the message.
        buckets: This runner's.

    Raises:
        TrialFailure: It is neither a ``file://`` URI of an absolute local path nor an ``s3://`` one
            of a bucket that this runner has, or its key can be no path.
    """
    if (found := _S3_URI.fullmatch(uri)) is not None:
        return _locate_key(uri, bucket=found[1], key=found[2], member=member, buckets=buckets)
    path = path_of_file_uri(uri)
    if path is None:
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: this runner takes file:///absolute/path, with '?', '#' and '%' "
            "written as %3F, %23 and %25, and s3://bucket/key of its own buckets",
        )
    return Path(path)


def key_parts(key: str) -> list[str] | None:
    """Split a key into the parts of a path; None: it can be none.

    One trailing slash is left out of account. Two keys never have the same parts.
    """
    parts = key.removesuffix("/").split("/") if key else []
    if "\0" in key or any(part in {"", ".", ".."} for part in parts):
        return None
    return parts


def _locate_key(
    uri: str, *, bucket: str, key: str, member: str, buckets: Buckets
) -> Path | S3Location:
    """Find what a key is in its bucket; a key is taken as it is written."""
    place = buckets.get(bucket)
    if place is None and _BUCKET_NAME.fullmatch(bucket):
        place = buckets.get(ALL_OTHER_BUCKETS)
    if place is None:
        known = f" It has {', '.join(sorted(buckets))}." if buckets else ""
        if not _BUCKET_NAME.fullmatch(bucket):
            raise TrialFailure(
                FailureKind.CLIENT,
                f"{member} is {uri!r}: {bucket!r} can be the name of no bucket, which has 3 to 63 "
                f"small letters, digits and inner dots and hyphens.{known}",
            )
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: this runner has no directory for the bucket {bucket!r}.{known} "
            f'Give it one: [buckets."{bucket}"] path = "/a/directory" in tunesmith.toml, or '
            f"tunesmith runner --bucket {bucket}=/a/directory. An [s3] section there, or --s3 '*', "
            "opens all buckets over the network",
        )
    if isinstance(place, Path) and not place.is_dir():
        # Not made: it may be a disk that is not mounted.
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: {place}, which stands for the bucket, is no directory",
        )
    parts = key_parts(key)
    if parts is None:
        # The same for both, so that a request means the same at every site; besides, HTTP's
        # libraries shorten such paths.
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: the key is no path in the bucket; leave out '.', '..', '//' and "
            "NUL",
        )
    if isinstance(place, Path):
        return place.joinpath(*parts)
    return S3Location(connection=place, bucket=bucket, key="/".join(parts))
