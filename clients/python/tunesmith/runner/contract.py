"""SageMaker's training contract as files: the ``/opt/ml`` tree under a trial's own directory.

What is written is what SageMaker writes for one host, ``algo-1``. The environment variables
are in ``environment.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import EnumDescriptor

from tunesmith.runner.errors import FAILURE_REASON_MAX, FailureKind, TrialFailure
from tunesmith.v1 import data_source_pb2, options_pb2
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

CURRENT_HOST: Final = "algo-1"
NETWORK_INTERFACE: Final = "eth0"
_INSTANCE_GROUP: Final = "homogeneousCluster"
_TRAINING_JOB_NAME: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_CHANNEL_NAME: Final = re.compile(r"[A-Za-z0-9.\-_]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTree:
    """Name the places of one attempt at a trial.

    Attributes:
        root: The attempt's own directory: the tree, the whole output, the running mark.
    """

    root: Path

    @property
    def ml(self) -> Path:
        """Stand in for ``/opt/ml``."""
        return self.root / "ml"

    @property
    def config(self) -> Path:
        """Hold the three JSON files."""
        return self.ml / "input" / "config"

    @property
    def data(self) -> Path:
        """Hold one directory per channel."""
        return self.ml / "input" / "data"

    @property
    def model(self) -> Path:
        """Take what becomes the model artifact."""
        return self.ml / "model"

    @property
    def output(self) -> Path:
        """Hold the failure file and the directory of further output."""
        return self.ml / "output"

    @property
    def output_data(self) -> Path:
        """Take further output."""
        return self.output / "data"

    @property
    def code(self) -> Path:
        """Be the program's working directory."""
        return self.ml / "code"

    @property
    def checkpoints(self) -> Path:
        """Take checkpoints."""
        return self.ml / "checkpoints"

    @property
    def log(self) -> Path:
        """Hold the program's output, byte by byte."""
        return self.root / "output.log"

    @property
    def mark(self) -> Path:
        """Note the running process, for a successor of a runner that was killed."""
        return self.root / "process.json"


def trial_tree(data_dir: Path, training_job_name: str, lease_token: int) -> TrialTree:
    """Name the directory of an attempt: ``<data_dir>/trials/<training job>/<lease>``.

    Raises:
        TrialFailure: The name cannot be that of a training job, so it may not be a path.
    """
    if not _TRAINING_JOB_NAME.fullmatch(training_job_name):
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{training_job_name!r} is no training job's name: 1 to 63 letters, digits and "
            "inner hyphens",
        )
    return TrialTree(root=data_dir / "trials" / training_job_name / str(lease_token))


def write_tree(tree: TrialTree, assignment: pb.TrialAssignment) -> None:
    """Make the directories and write the three JSON files.

    Raises:
        TrialFailure: The assignment asks for what cannot be made.
        OSError: The runner's own disk is in trouble.
    """
    channels = [channel.channel_name for channel in assignment.input_data_config]
    for name in channels:
        if not _CHANNEL_NAME.fullmatch(name) or name in {".", ".."}:
            raise TrialFailure(
                FailureKind.CLIENT,
                f"{name!r} cannot be the name of a channel's directory: 1 to 64 letters, "
                "digits, '.', '-' and '_', but not '.' or '..'",
            )
    directories = (tree.config, tree.data, tree.model, tree.output_data, tree.code)
    for directory in (*directories, tree.checkpoints, *(tree.data / name for name in channels)):
        directory.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("hyperparameters.json", dict(sorted(assignment.hyper_parameters.items()))),
        ("inputdataconfig.json", input_data_config(assignment)),
        ("resourceconfig.json", resource_config(assignment)),
    ):
        (tree.config / name).write_text(json.dumps(content), encoding="utf-8")


def input_data_config(assignment: pb.TrialAssignment) -> dict[str, dict[str, str]]:
    """Describe the channels as ``inputdataconfig.json`` does."""
    described: dict[str, dict[str, str]] = {}
    for channel in assignment.input_data_config:
        source = channel.data_source.s3_data_source
        entry = {
            "TrainingInputMode": _spelling(
                definition_pb.TrainingInputMode.DESCRIPTOR,
                channel.input_mode or assignment.training_input_mode,
                "File",
            ),
            "S3DistributionType": _spelling(
                data_source_pb2.S3DataDistribution.DESCRIPTOR,
                source.s3_data_distribution_type,
                "FullyReplicated",
            ),
            "RecordWrapperType": _spelling(
                definition_pb.RecordWrapper.DESCRIPTOR, channel.record_wrapper_type, "None"
            ),
        }
        if channel.content_type:
            entry["ContentType"] = channel.content_type
        described[channel.channel_name] = entry
    return described


def resource_config(assignment: pb.TrialAssignment) -> dict[str, object]:
    """Describe the only host as ``resourceconfig.json`` does."""
    hosts = [CURRENT_HOST]
    return {
        "current_host": CURRENT_HOST,
        "current_instance_type": assignment.instance_type,
        # Both spellings are about: the platform's file has the first, the toolkit the second.
        "current_group_name": _INSTANCE_GROUP,
        "current_instance_group": _INSTANCE_GROUP,
        "hosts": hosts,
        "instance_groups": [
            {
                "instance_group_name": _INSTANCE_GROUP,
                "instance_type": assignment.instance_type,
                "hosts": hosts,
            }
        ],
        "network_interface_name": NETWORK_INTERFACE,
    }


def failure_text(tree: TrialTree) -> str:
    """Read the beginning of the failure file; empty when there is none."""
    path = tree.output / "failure"
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            beginning = file.read(4 * FAILURE_REASON_MAX)
    except OSError:
        return ""
    return beginning.decode("utf-8", errors="replace").strip()[:FAILURE_REASON_MAX]


def typed_hyper_parameters(hyper_parameters: Mapping[str, str]) -> dict[str, object]:
    """Read each value as JSON where it is JSON, as the SageMaker toolkit does."""
    typed: dict[str, object] = {}
    for name, value in hyper_parameters.items():
        try:
            typed[name] = json.loads(value)
        except (ValueError, RecursionError):
            typed[name] = value
    return typed


def _spelling(descriptor: EnumDescriptor, number: int, default: str) -> str:
    """Spell an enum's value as SageMaker does; the unspecified and the unknown by default."""
    value = descriptor.values_by_number.get(number)
    options = None if value is None else value.GetOptions()
    return (options.Extensions[options_pb2.sagemaker_name] if options else "") or default
