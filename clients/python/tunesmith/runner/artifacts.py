"""A trial's model and output, stored as SageMaker stores them.

Under ``<S3OutputPath>/<training job>/output/``: ``model.tar.gz``, always, and ``output.tar.gz``
if there is any, with entries relative to the packed directory; or, not compressed, the files
under ``model/`` and ``data/``. An archive is there whole, or not at all.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tunesmith.runner.contract import TrialTree
from tunesmith.runner.locations import Buckets
from tunesmith.runner.storage import Storage, storage_of_uri
from tunesmith.runner.stored_tree import inner_target, walk
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

# Models hardly shrink; the highest level would only take three times as long.
_COMPRESSION_LEVEL: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Say where a trial's artifacts go.

    Attributes:
        storage: ``<S3OutputPath>/<training job>/output``.
        uri: The same as the request spells it.
        compressed: Packed, or as files.
    """

    storage: Storage
    uri: str
    compressed: bool


def destination(
    config: definition_pb.OutputDataConfig, training_job_name: str, *, buckets: Buckets
) -> Destination:
    """Find where a trial's artifacts go, and whether they could; may ask the bucket.

    Args:
        config: What the request has.
        training_job_name: The trial.
        buckets: This runner's.

    Raises:
        TrialFailure: The place is not one that this runner can write to.
    """
    uri, member, key = config.s3_output_path, "S3OutputPath", config.kms_key_id
    parts = (training_job_name, "output")
    storage_of_uri(uri, member=member, buckets=buckets, kms_key_id=key).check_writable(member)
    return Destination(
        storage=storage_of_uri(uri, *parts, member=member, buckets=buckets, kms_key_id=key),
        uri="/".join([uri.rstrip("/"), *parts]),
        compressed=config.compression_type != definition_pb.OUTPUT_COMPRESSION_TYPE_NONE,
    )


def store_artifacts(tree: TrialTree, place: Destination, *, check: Callable[[], None]) -> str:
    """Store a trial's model and output; durable on return.

    Args:
        tree: The trial's directories.
        place: Where to.
        check: Called now and then; raises to end the storing.

    Returns:
        The URI of the model.

    Raises:
        OSError: Something could not be read or written.
    """
    parts = [(tree.model, "model.tar.gz", "model")]
    if any(tree.output_data.iterdir()):
        parts.append((tree.output_data, "output.tar.gz", "data"))
    for source, archive, directory in parts:
        if place.compressed:
            _store_packed(source, archive, place.storage, scratch=tree.root, check=check)
        else:
            place.storage.store_tree(directory, source, check=lambda _: check())
    return f"{place.uri}/model.tar.gz" if place.compressed else f"{place.uri}/model/"


def _store_packed(
    source: Path, archive: str, storage: Storage, *, scratch: Path, check: Callable[[], None]
) -> None:
    def write(file: IO[bytes]) -> None:
        with tarfile.open(
            fileobj=file,
            mode="w:gz",
            compresslevel=_COMPRESSION_LEVEL,
            format=tarfile.PAX_FORMAT,
        ) as tar:
            for path in walk(source):
                check()
                _add(tar, source, path, check)

    storage.store_file(archive, write, scratch=scratch, check=lambda _: check())


def _add(tar: tarfile.TarFile, source: Path, path: Path, check: Callable[[], None]) -> None:
    name = str(path.relative_to(source))
    inner = inner_target(source, path) if path.is_symlink() else None
    if inner is None:
        entry = tar.gettarinfo(path.resolve(), arcname=name)
        # Stored as the file that it is: its other name may not be in the archive.
        if entry.islnk():
            entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
    else:
        entry = tar.gettarinfo(path, arcname=name)
        entry.linkname = inner
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    if entry.isreg():
        with path.open("rb") as content:
            tar.addfile(entry, _Checked(content, check))
    else:
        tar.addfile(entry)


class _Checked:
    """Ask between two reads whether to go on."""

    def __init__(self, file: IO[bytes], check: Callable[[], None]) -> None:
        self._file = file
        self._check = check

    def read(self, size: int = -1) -> bytes:
        self._check()
        return self._file.read(size)
