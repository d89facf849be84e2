"""Input channels in File mode: copied into the trial's directory before its program starts.

Only ``S3Prefix`` sources that are a file or directory here, as they are: not compressed, not
wrapped, not sharded. Everything else is refused by name.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.locations import Buckets, path_of_uri
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

_CHUNK_BYTES: Final = 4 * 1024 * 1024


def source_of_channel(
    channel: definition_pb.Channel,
    default_mode: definition_pb.TrainingInputMode.ValueType,
    *,
    buckets: Buckets,
) -> Path:
    """Find where a channel's data are.

    Args:
        channel: The channel.
        default_mode: The trial's, for a channel without its own.
        buckets: What stands for buckets here.

    Raises:
        TrialFailure: The channel asks for what this runner does not do.
    """
    source = channel.data_source.s3_data_source
    refusals = (
        (
            (channel.input_mode or default_mode)
            not in (
                definition_pb.TRAINING_INPUT_MODE_UNSPECIFIED,
                definition_pb.TRAINING_INPUT_MODE_FILE,
            ),
            "InputMode: only File",
        ),
        (
            channel.compression_type
            not in (
                definition_pb.COMPRESSION_TYPE_UNSPECIFIED,
                definition_pb.COMPRESSION_TYPE_NONE,
            ),
            "CompressionType: only None",
        ),
        (
            channel.record_wrapper_type
            not in (definition_pb.RECORD_WRAPPER_UNSPECIFIED, definition_pb.RECORD_WRAPPER_NONE),
            "RecordWrapperType: only None",
        ),
        (channel.HasField("shuffle_config"), "ShuffleConfig: none"),
        (not channel.data_source.HasField("s3_data_source"), "DataSource: only S3DataSource"),
        (
            source.s3_data_type != source_pb.S3_DATA_TYPE_S3_PREFIX,
            "S3DataType: only S3Prefix",
        ),
        (
            source.s3_data_distribution_type
            not in (
                source_pb.S3_DATA_DISTRIBUTION_UNSPECIFIED,
                source_pb.S3_DATA_DISTRIBUTION_FULLY_REPLICATED,
            ),
            "S3DataDistributionType: only FullyReplicated",
        ),
    )
    for refused, rule in refusals:
        if refused:
            raise TrialFailure(
                FailureKind.CLIENT,
                f"channel {channel.channel_name!r} asks for what this runner does not do; {rule} "
                "is possible",
            )
    member = f"S3Uri of channel {channel.channel_name!r}"
    return path_of_uri(source.s3_uri, member=member, buckets=buckets)


def copy_channel(source: Path, target: Path, *, check: Callable[[int], None]) -> None:
    """Copy a file, or what is in a directory, into a channel's directory.

    A symbolic link within the source stays one; one that leads out of it is refused, because
    what lies there is not part of the channel.

    Args:
        source: File or directory.
        target: The channel's directory; exists.
        check: Called with the number of bytes that were written since its last call; raises
            to end the copying.

    Raises:
        TrialFailure: The source is not there, cannot be read, or holds what cannot be copied.
        OSError: The target cannot be written.
    """
    try:
        root = source.resolve(strict=True)
        info = root.stat()
    except (OSError, RuntimeError) as error:
        raise _unusable(source, error) from error
    if stat.S_ISREG(info.st_mode):
        _copy_file(root, target / source.name, check)
    elif stat.S_ISDIR(info.st_mode):
        _copy_directory(root, root, target, check)
    else:
        raise TrialFailure(FailureKind.CLIENT, f"{source} is neither a file nor a directory")


def _unusable(path: Path, error: Exception) -> TrialFailure:
    said = error.strerror if isinstance(error, OSError) else str(error)
    return TrialFailure(FailureKind.CLIENT, f"cannot read channel data at {path}: {said}")


def _copy_directory(root: Path, source: Path, target: Path, check: Callable[[int], None]) -> None:
    try:
        entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    except OSError as error:
        raise _unusable(source, error) from error
    for entry in entries:
        path = Path(entry.path)
        copy = target / entry.name
        check(0)
        if entry.is_symlink():
            _copy_link(root, path, copy)
        elif entry.is_dir(follow_symlinks=False):
            copy.mkdir(exist_ok=True)
            _copy_directory(root, path, copy, check)
        elif entry.is_file(follow_symlinks=False):
            _copy_file(path, copy, check)
        else:
            raise TrialFailure(
                FailureKind.CLIENT, f"{path} is no file, directory or link, and cannot be copied"
            )


def _copy_link(root: Path, link: Path, copy: Path) -> None:
    try:
        end = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise _unusable(link, error) from error
    if not end.is_relative_to(root):
        raise TrialFailure(
            FailureKind.CLIENT, f"{link} links to {end}, which is outside the channel's {root}"
        )
    copy.symlink_to(os.path.relpath(end, link.parent))


def _copy_file(source: Path, copy: Path, check: Callable[[int], None]) -> None:
    try:
        # Not blocking: a pipe put in the file's place meanwhile must not hold the runner.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _unusable(source, error) from error
    with os.fdopen(descriptor, "rb", buffering=0) as reader, copy.open("wb", buffering=0) as writer:
        while chunk := _read(reader.fileno(), source):
            writer.write(chunk)
            check(len(chunk))
    shutil.copymode(source, copy)
    copy.chmod(copy.stat().st_mode | stat.S_IWUSR)


def _read(descriptor: int, source: Path) -> bytes:
    try:
        return os.read(descriptor, _CHUNK_BYTES)
    except OSError as error:
        raise _unusable(source, error) from error
