"""A trial's model and output, stored as SageMaker stores them.

Under ``<S3OutputPath>/<training job>/output/``: ``model.tar.gz``, always, and ``output.tar.gz``
if there is any, with entries relative to the packed directory; or, not compressed, the files
under ``model/`` and ``data/``. Everything is written under another name, forced to disk, and then
renamed: a reader sees the whole or nothing.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tunesmith.runner.contract import TrialTree
from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.locations import Buckets, path_of_uri
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

# Models hardly shrink; the highest level would only take three times as long.
_COMPRESSION_LEVEL: Final = 6
_CHUNK_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Say where a trial's artifacts go.

    Attributes:
        directory: ``<S3OutputPath>/<training job>/output``.
        uri: The same as the request spells it.
        compressed: Packed, or as files.
    """

    directory: Path
    uri: str
    compressed: bool


def destination(
    config: definition_pb.OutputDataConfig, training_job_name: str, *, buckets: Buckets
) -> Destination:
    """Find where a trial's artifacts go, and whether they could.

    Args:
        config: What the request has.
        training_job_name: The trial.
        buckets: What stands for buckets here.

    Raises:
        TrialFailure: The place is not one that this runner can write to.
    """
    if config.kms_key_id:
        raise TrialFailure(
            FailureKind.CLIENT, "KmsKeyId is set: this runner stores without encryption only"
        )
    base = path_of_uri(config.s3_output_path, member="S3OutputPath", buckets=buckets)
    existing = next(path for path in (base, *base.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise TrialFailure(
            FailureKind.CLIENT,
            f"S3OutputPath is {config.s3_output_path!r}: {existing} is no directory that this "
            "runner may write to",
        )
    return Destination(
        directory=base / training_job_name / "output",
        uri=f"{config.s3_output_path.rstrip('/')}/{training_job_name}/output",
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
    place.directory.mkdir(parents=True, exist_ok=True)
    has_output = any(tree.output_data.iterdir())
    if place.compressed:
        _pack(tree.model, place.directory / "model.tar.gz", check)
        if has_output:
            _pack(tree.output_data, place.directory / "output.tar.gz", check)
    else:
        _place(tree.model, place.directory / "model", check)
        if has_output:
            _place(tree.output_data, place.directory / "data", check)
    _sync_directory(place.directory)
    return f"{place.uri}/model.tar.gz" if place.compressed else f"{place.uri}/model/"


def _pack(source: Path, archive: Path, check: Callable[[], None]) -> None:
    unfinished = archive.with_name(f".{archive.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            with tarfile.open(
                fileobj=file,
                mode="w:gz",
                compresslevel=_COMPRESSION_LEVEL,
                format=tarfile.PAX_FORMAT,
            ) as tar:
                for path in _walk(source):
                    check()
                    _add(tar, source, path, check)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(archive)
    finally:
        unfinished.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, source: Path, path: Path, check: Callable[[], None]) -> None:
    name = str(path.relative_to(source))
    inner = _inner_target(source, path) if path.is_symlink() else None
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


def _place(source: Path, target: Path, check: Callable[[], None]) -> None:
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        for path in _walk(source):
            check()
            copy = unfinished / path.relative_to(source)
            inner = _inner_target(source, path) if path.is_symlink() else None
            if inner is not None:
                copy.symlink_to(inner)
            elif path.is_dir():
                copy.mkdir()
            else:
                _copy(path, copy, check)
        _sync_directory(unfinished)
        # A rename replaces no directory that holds something: an earlier attempt's goes first.
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _copy(path: Path, copy: Path, check: Callable[[], None]) -> None:
    with path.open("rb") as reader, copy.open("wb") as writer:
        shutil.copyfileobj(_Checked(reader, check), writer, _CHUNK_BYTES)
        writer.flush()
        os.fsync(writer.fileno())
    shutil.copymode(path, copy)


def _walk(directory: Path) -> Iterator[Path]:
    """Give what can be stored, parents before children, in the order of names.

    That is: directories, files, links to what is within the root, and links out of it to
    files, whose content is stored in their place, since a model that refers to this host's
    other files would be of no use. Sockets, pipes, devices and broken links are left out.
    """
    for root, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = Path(root) / name
            leads_out = path.is_symlink() and _inner_target(directory, path) is None
            if path.is_file() or (path.is_dir() and not leads_out):
                yield path


def _inner_target(root: Path, link: Path) -> str | None:
    """Say where a link within the root leads, relative to it; ``None`` if it leads out."""
    try:
        end = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    if not end.is_relative_to(root.resolve()):
        return None
    return os.path.relpath(end, link.parent.resolve())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Checked:
    """Ask between two reads whether to go on."""

    def __init__(self, file: IO[bytes], check: Callable[[], None]) -> None:
        self._file = file
        self._check = check

    def read(self, size: int = -1) -> bytes:
        self._check()
        return self._file.read(size)
