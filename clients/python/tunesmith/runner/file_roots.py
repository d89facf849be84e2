"""The directories that ``file://`` URIs may lead to, where a runner is told so.

The server compares paths as they are written. Where links lead, and whether one is there, the runner
alone can see.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

from tunesmith.file_uris import path_of_file_uri
from tunesmith.runner.errors import PATH_MISTAKES, FailureKind, TrialFailure
from tunesmith.runner.scripts import SUBMIT_DIRECTORY, script_of
from tunesmith.v1 import runner_service_pb2 as pb


def check_file_roots(assignment: pb.TrialAssignment, roots: Sequence[Path] | None) -> None:
    """Look whether all paths of a trial are within the roots, links resolved.

    Who may write below a root can lead a path elsewhere afterwards: roots are for those who are
    trusted with what the runner may read.

    Args:
        assignment: The trial.
        roots: Absolute directories; None: any path will do.

    Raises:
        TrialFailure: One leads elsewhere.
        OSError: It cannot be found out.
    """
    if roots is None:
        return
    resolved = [root.resolve() for root in roots]
    for member, uri in _uris(assignment):
        path = path_of_file_uri(uri)
        if path is None:
            continue
        try:
            place = Path(path).resolve()
        except (OSError, RuntimeError) as error:
            # Python 3.11 raises the latter of links that lead round in a circle.
            if isinstance(error, OSError) and error.errno not in PATH_MISTAKES | {errno.ELOOP}:
                raise
            said = (
                error.strerror if isinstance(error, OSError) else "its links lead round in a circle"
            )
            raise TrialFailure(
                FailureKind.CLIENT, f"{member} is {uri!r}, which cannot be followed: {said}"
            ) from error
        if not any(place.is_relative_to(root) for root in resolved):
            known = ", ".join(str(root) for root in roots) or "none"
            raise TrialFailure(
                FailureKind.CLIENT,
                f"{member} is {uri!r}: this runner takes file:// URIs that lead below these "
                f"directories alone, links resolved: {known}",
            )


def _uris(assignment: pb.TrialAssignment) -> Iterator[tuple[str, str]]:
    for channel in assignment.input_data_config:
        member = f"S3Uri of channel {channel.channel_name!r}"
        yield member, channel.data_source.s3_data_source.s3_uri
    yield "S3OutputPath", assignment.output_data_config.s3_output_path
    yield "CheckpointConfig.S3Uri", assignment.checkpoint_config.s3_uri
    script = script_of(assignment.hyper_parameters)
    if script is not None:
        yield SUBMIT_DIRECTORY, script.source
