"""Script mode: a program from the request's archive, run without a container.

SageMaker's SDK packs a script into an archive and names both in two hyperparameters. The archive is
unpacked into the trial's working directory, and the script is run with the hyperparameters as
arguments, as SageMaker's training toolkit does in its images. What the toolkit would install there,
``requirements.txt`` or a package, is not: the Python that runs the script has what it has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from tunesmith.runner.contract import typed_hyper_parameters
from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.locations import Buckets
from tunesmith.runner.storage import storage_of_uri
from tunesmith.runner.tar_members import ArchiveRefused
from tunesmith.runner.unpacking import unpack

PROGRAM: Final = "sagemaker_program"
SUBMIT_DIRECTORY: Final = "sagemaker_submit_directory"


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
    refused; see ``unpacking``.

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
            unpack(file, target, check=check)
        except ArchiveRefused as error:
            raise _refused(script.source, str(error)) from error
    path = (target / script.program).resolve()
    if not path.is_file() or not path.is_relative_to(target.resolve()):
        raise _refused(script.source, f"it has no file {script.program!r}")


def _is_inner(name: str) -> bool:
    return "\0" not in name and not name.startswith("/") and ".." not in PurePosixPath(name).parts


def _refused(source: str, why: str) -> TrialFailure:
    return TrialFailure(FailureKind.CLIENT, f"cannot unpack {source}: {why}")
