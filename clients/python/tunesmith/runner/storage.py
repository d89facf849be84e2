"""Where a URI leads, as what reads and stores see it: a directory here, or keys of a bucket.

Both mean the same by a URI: one file, or a directory with all that is in it. A key is a path as it is
written; a prefix that ends within a name finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from tunesmith.runner.directory_storage import DirectoryStorage
from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.locations import Buckets, locate
from tunesmith.runner.s3_storage import S3Storage

Check: TypeAlias = Callable[[int], None]
"""Is told how many bytes were moved since its last call, and raises to end the work."""


class Storage(Protocol):
    """Read from and write to a place. All calls block; what they leave is whole, or not there.

    What is read and cannot be is a ``TrialFailure``, which names the place; what cannot be stored is
    an ``OSError``, whose number tells whose fault it is.
    """

    def check_writable(self, member: str) -> None:
        """Look whether something could be stored here, as far as that can be seen beforehand.

        Args:
            member: The request's member that names the place, for the message.

        Raises:
            TrialFailure: Nothing could be.
        """

    def opened(self, *, scratch: Path, check: Check) -> AbstractContextManager[IO[bytes]]:
        """Open the one file that is here.

        Args:
            scratch: A directory on the disk where a copy may take room meanwhile; no name is seen
                there.
            check: Asked while a copy is made.

        Raises:
            TrialFailure: There is none, or it cannot be read.
        """

    def fetch_tree(self, target: Path, *, check: Check) -> None:
        """Copy a file, or what is in a directory, into a directory.

        Raises:
            TrialFailure: It is not there, cannot be read, or holds what cannot be copied.
            OSError: The target cannot be written.
        """

    def store_file(
        self, name: str, write: Callable[[IO[bytes]], None], *, scratch: Path, check: Check
    ) -> None:
        """Store a file under a name here, durably.

        Args:
            name: A file's name.
            write: Writes its content, from first to last.
            scratch: As for ``opened``.
            check: Asked while it is stored.

        Raises:
            OSError: It could not be.
        """

    def store_tree(self, name: str, source: Path, *, check: Check) -> None:
        """Store what is in a directory under a name here, durably, in the place of what is there.

        Raises:
            OSError: It could not be.
        """


def storage_of_uri(
    uri: str, *parts: str, member: str, buckets: Buckets, kms_key_id: str = ""
) -> Storage:
    """Find the place that a URI names.

    Args:
        uri: What the request has.
        parts: Names of directories below that.
        member: The request's member that has it, for the message.
        buckets: This runner's.
        kms_key_id: What is stored is encrypted with; empty: the place's own affair.

    Raises:
        TrialFailure: This runner has no such place, or it encrypts nothing.
    """
    place = locate(uri, member=member, buckets=buckets)
    below = "/".join([uri.rstrip("/"), *parts]) if parts else uri
    if isinstance(place, Path):
        if kms_key_id:
            raise TrialFailure(
                FailureKind.CLIENT,
                f"KmsKeyId is set, and {member} is {uri!r}, a directory of this runner: nothing is "
                "encrypted there",
            )
        return DirectoryStorage(place.joinpath(*parts), uri=below)
    return S3Storage(replace(place.below(*parts), kms_key_id=kms_key_id), uri=below)
