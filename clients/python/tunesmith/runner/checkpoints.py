"""A trial's checkpoints: kept in step with a place that outlives the attempt.

SageMaker's ``CheckpointConfig``: what is stored is copied into the trial's directory before its
program starts, and what the program writes there, changes and deletes is mirrored while it runs and
once more at its end. Each training job has a folder of its own, ``<S3Uri>/<training job>``. Beside
it, hidden, lies the lease of the latest attempt, so that one that has lost its lease stores nothing
any more.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from tunesmith.runner.checkpoint_tree import Check
from tunesmith.runner.contract import TrialTree
from tunesmith.runner.directory_checkpoints import CheckpointPlace, DirectoryCheckpoints
from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.locations import Buckets, locate
from tunesmith.runner.s3_checkpoints import S3Checkpoints
from tunesmith.runner.storage import storage_of_uri
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

_ML: Final = PurePosixPath("/opt/ml")
_MEMBER: Final = "CheckpointConfig.S3Uri"


class Checkpoints(Protocol):
    """Keep one attempt's checkpoints in step with what is stored. Its calls follow each other."""

    @property
    def local(self) -> Path:
        """Name the trial's own directory."""

    def restore(self, *, check: Check) -> None:
        """Take the store over from earlier attempts, and copy what it holds into the trial's tree.

        Raises:
            TrialFailure: The place cannot be used.
            OSError: The trial's own disk is in trouble.
        """

    def store(self, *, check: Check) -> None:
        """Bring what is stored into step with the trial's directory; durable on return.

        Nothing is done any more once a later attempt has taken over.

        Raises:
            OSError: Something could not be read or written; the next call tries again.
        """


def checkpoints_at(
    config: definition_pb.CheckpointConfig,
    tree: TrialTree,
    *,
    training_job_name: str,
    lease_token: int,
    buckets: Buckets,
) -> Checkpoints:
    """Find where a training job's checkpoints are, and whether they could be; may ask the bucket.

    Args:
        config: What the request has.
        tree: Where the attempt runs.
        training_job_name: The trial.
        lease_token: Of this attempt.
        buckets: This runner's.

    Raises:
        TrialFailure: The place is not one that this runner can use.
    """
    local = _local(config.local_path, tree)
    storage_of_uri(config.s3_uri, member=_MEMBER, buckets=buckets).check_writable(_MEMBER)
    base = locate(config.s3_uri, member=_MEMBER, buckets=buckets)
    if not isinstance(base, Path):
        return S3Checkpoints(
            local=local,
            stored=base.below(training_job_name),
            lease=base.below(f".{training_job_name}", "lease"),
            scratch=tree.root,
            lease_token=lease_token,
        )
    return DirectoryCheckpoints(
        CheckpointPlace(
            local=local,
            stored=base / training_job_name,
            aside=base / f".{training_job_name}",
            lease_token=lease_token,
        )
    )


def _local(local_path: str, tree: TrialTree) -> Path:
    """Find the trial's own directory for a path under ``/opt/ml``."""
    if not local_path:
        return tree.checkpoints
    path = PurePosixPath(local_path)
    inner = path.parts[len(_ML.parts) :]
    taken = ("input", "model", "output", "code")
    if path.parts[: len(_ML.parts)] != _ML.parts or not inner or ".." in inner or inner[0] in taken:
        raise TrialFailure(
            FailureKind.CLIENT,
            f"CheckpointConfig.LocalPath is {local_path!r}: this runner takes a directory under "
            f"/opt/ml, which is SAGEMAKER_BASE_DIR, apart from {', '.join(taken)}",
        )
    return tree.ml.joinpath(*inner)
