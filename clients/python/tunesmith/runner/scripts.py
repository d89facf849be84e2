"""Script mode: a program from the request's archive, run without a container.

SageMaker's SDK packs a script into an archive and names both in two hyperparameters. The archive is
unpacked into the trial's working directory, and the script is run with the hyperparameters as
arguments, as SageMaker's training toolkit does in its images. What the toolkit would install there,
``requirements.txt`` or a package, is not: the Python that runs the script has what it has.
"""

from __future__ import annotations

import gzip
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from tunesmith.runner.contract import typed_hyper_parameters
from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.locations import Buckets
from tunesmith.runner.storage import storage_of_uri

PROGRAM: Final = "sagemaker_program"
SUBMIT_DIRECTORY: Final = "sagemaker_submit_directory"

_FILES_MAX: Final = 20_000
_BYTES_MAX: Final = 1024**3
_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Name a script and where it is.

    Attributes:
        program: Its path within the archive.
        source: The archive's URI, as the request has it.
    """

    program: str
    source: str


def script_of(hyper_parameters: Mapping[str, str]) -> Script | None:
    """Find the script that hyperparameters name; None: they name none.

    Raises:
        TrialFailure: They name one that cannot be run.
    """
    if PROGRAM not in hyper_parameters:
        return None
    typed = typed_hyper_parameters(hyper_parameters)
    program, source = typed[PROGRAM], typed.get(SUBMIT_DIRECTORY)
    if not isinstance(program, str) or not isinstance(source, str):
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{PROGRAM} is {program!r} and {SUBMIT_DIRECTORY} is {source!r}: a script has a name "
            "and an archive that it is in",
        )
    if not _is_inner(program) or not program.endswith((".py", ".sh")):
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{PROGRAM} is {program!r}: it should be the path of a .py or .sh file in the archive",
        )
    return Script(program=program, source=source)


def script_command(
    script: Script, interpreter: Sequence[str], arguments: Sequence[str]
) -> tuple[str, ...]:
    """Give the command line that runs a script in its directory.

    Args:
        script: The script.
        interpreter: What Python scripts are run with; empty: the runner's own Python.
        arguments: The hyperparameters.
    """
    begin = tuple(interpreter) or (sys.executable,)
    return (
        *(("/bin/sh",) if script.program.endswith(".sh") else begin),
        script.program,
        *arguments,
    )


def unpack_script(
    script: Script, target: Path, *, buckets: Buckets, check: Callable[[int], None]
) -> None:
    """Unpack a script's archive.

    Regular files, directories and links within the archive's tree are taken, anything else is
    refused. Links are made when all files are there, so that none is written through one.

    Args:
        script: The script.
        target: An empty directory.
        buckets: This runner's.
        check: Called with the number of bytes that were written since its last call; raises
            to end the work.

    Raises:
        TrialFailure: The archive is not there, is no archive, holds what it may not or too much,
            or lacks the script.
        OSError: The target cannot be written.
    """
    storage = storage_of_uri(script.source, member=SUBMIT_DIRECTORY, buckets=buckets)
    with storage.opened(scratch=target, check=check) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:gz") as tar:
                _unpack(tar, script.source, target, check)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _refused(script.source, f"it is no whole .tar.gz: {error}") from error
    path = (target / script.program).resolve()
    if not path.is_file() or not path.is_relative_to(target.resolve()):
        raise _refused(script.source, f"it has no file {script.program!r}")


def _unpack(tar: tarfile.TarFile, source: str, target: Path, check: Callable[[int], None]) -> None:
    links: list[tuple[Path, str]] = []
    for member in _members(tar, source):
        path = target.joinpath(*PurePosixPath(member.name).parts)
        if member.isdir():
            _make_directory(path, source)
        elif member.issym():
            links.append((path, member.linkname))
        elif member.isreg():
            _make_directory(path.parent, source)
            _write(tar, member, path, source, check)
        else:
            raise _refused(source, f"{member.name!r} is no file, directory or symbolic link")
    for path, to in links:
        _make_directory(path.parent, source)
        _link(path, to, target, source)


def _members(tar: tarfile.TarFile, source: str) -> Iterator[tarfile.TarInfo]:
    """Give the members, as long as there are neither too many nor any that lead out."""
    count, size = 0, 0
    for member in tar:
        count, size = count + 1, size + max(member.size, 0)
        if count > _FILES_MAX or size > _BYTES_MAX:
            raise _refused(source, f"it holds more than {_FILES_MAX} members or {_BYTES_MAX} bytes")
        if not _is_inner(member.name):
            raise _refused(source, f"{member.name!r} leads out of the directory")
        yield member


def _is_inner(name: str) -> bool:
    return "\0" not in name and not name.startswith("/") and ".." not in PurePosixPath(name).parts


def _make_directory(path: Path, source: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(source, f"{path.name!r} is a file and a directory") from error


def _write(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: Path,
    source: str,
    check: Callable[[int], None],
) -> None:
    content = tar.extractfile(member)
    if content is None:  # of a regular file there is content
        raise AssertionError(member.name)
    try:
        # A later member replaces an earlier one of the same name, as tar itself has it.
        writer = path.open("wb")
    except IsADirectoryError as error:
        raise _refused(source, f"{member.name!r} is a file and a directory") from error
    with content, writer:
        while chunk := content.read(_CHUNK_BYTES):
            writer.write(chunk)
            check(len(chunk))
    path.chmod(0o644 | (member.mode & 0o111))


def _link(path: Path, to: str, target: Path, source: str) -> None:
    try:
        path.symlink_to(to)
        end = path.resolve()
    except (FileExistsError, RuntimeError, ValueError) as error:
        raise _refused(source, f"the link {path.name!r} cannot be made") from error
    if not end.is_relative_to(target.resolve()):
        raise _refused(source, f"the link {path.name!r} leads out of the directory")


def _refused(source: str, why: str) -> TrialFailure:
    return TrialFailure(FailureKind.CLIENT, f"cannot unpack {source}: {why}")
