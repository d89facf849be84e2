"""SageMaker's training contract as environment variables, ``SM_*`` included.

In a container the SageMaker training toolkit derives ``SM_*`` from the files of the contract;
for a local process the runner does. Rules of the toolkit that are kept: each hyperparameter's
value is read as JSON where it is JSON; ``sagemaker_*`` and ``_tuning_objective_metric`` are
settings of the platform and no arguments of the program; composite values are compact JSON with
sorted keys.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tunesmith.runner import contract
from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.scripts import script_of
from tunesmith.v1 import runner_service_pb2 as pb

# Linux takes no longer string in an environment: MAX_ARG_STRLEN, 32 pages of 4 KiB.
_VARIABLE_MAX_BYTES: Final = 128 * 1024 - 1

#: Of AWS's own variables those that hold no secret and lead to none: where AWS is, and how it is
#: spoken to. All others stay with the runner, so that a new one is no leak.
_AWS_INHERITED: Final = frozenset(
    {
        "AWS_CA_BUNDLE",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_MAX_ATTEMPTS",
        "AWS_REGION",
        "AWS_RETRY_MODE",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_USE_FIPS_ENDPOINT",
    }
)

#: Hyperparameters for the platform, apart from all that begin with ``sagemaker_``.
_PLATFORM_PARAMETERS: Final = frozenset({"_tuning_objective_metric", "default_user_module_name"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnvironment:
    """Hold a trial's environment.

    Attributes:
        variables: All of it.
        omitted: Variables that the contract has and the operating system cannot carry.
    """

    variables: dict[str, str]
    omitted: tuple[str, ...]


def trial_environment(
    assignment: pb.TrialAssignment,
    tree: contract.TrialTree,
    *,
    gpus: tuple[str, ...],
    cpu_count: int,
    inherited: Mapping[str, str],
) -> TrialEnvironment:
    """Compose a trial's environment: the runner's own, the trial's, and the contract's over both.

    Of the runner's own the credentials for AWS are left out: what it may read and write is not for
    the programs that it runs.

    Args:
        assignment: The trial.
        tree: Where it runs.
        gpus: The GPUs it gets, as ``CUDA_VISIBLE_DEVICES`` calls them; all others are hidden.
        cpu_count: CPUs that it may use.
        inherited: The runner's own environment.

    Raises:
        TrialFailure: A value holds a NUL, which no environment can carry, or the trial's script
            cannot be run.
    """
    variables = {k: v for k, v in inherited.items() if _is_inherited(k)}
    # Through a pipe Python would hold lines back, and with them metrics, until 8 KiB are full.
    variables["PYTHONUNBUFFERED"] = "1"
    variables.update(assignment.environment)
    variables.update(_platform_variables(assignment, tree, gpus))
    variables.update(_toolkit_variables(assignment, tree, gpus, cpu_count))
    variables.update(_script_variables(assignment, tree, variables))
    omitted = sorted(name for name, value in variables.items() if _is_impossible(name, value))
    for name in omitted:
        del variables[name]
    for name, value in variables.items():
        if "\0" in name or "\0" in value:
            raise TrialFailure(
                FailureKind.CLIENT, f"the value of {name!r} holds a NUL character: remove it"
            )
    return TrialEnvironment(variables=variables, omitted=tuple(omitted))


def _is_inherited(name: str) -> bool:
    """Tell whether a variable of the runner's is one of its trials' too."""
    if name.startswith("AWS_"):
        return name in _AWS_INHERITED or name.startswith("AWS_ENDPOINT_URL")
    return not name.startswith("SM_")


def _is_impossible(name: str, value: str) -> bool:
    too_long = len(_os_bytes(name)) + len(_os_bytes(value)) + 2 > _VARIABLE_MAX_BYTES
    return too_long or not name or "=" in name


def _os_bytes(text: str) -> bytes:
    """Encode as the operating system gets it."""
    return text.encode("utf-8", errors="surrogateescape")


def _platform_variables(
    assignment: pb.TrialAssignment, tree: contract.TrialTree, gpus: tuple[str, ...]
) -> dict[str, str]:
    """Give what the platform sets, with or without the toolkit."""
    variables = {
        "TRAINING_JOB_NAME": assignment.training_job_name,
        "TRAINING_JOB_ARN": assignment.training_job_arn,
        "SAGEMAKER_BASE_DIR": str(tree.ml),
        "CUDA_VISIBLE_DEVICES": ",".join(gpus),
        # CUDA counts the fastest first by default; the runner's indices are NVML's.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    # arn:partition:service:region:account:resource
    region = assignment.training_job_arn.split(":")[3:4]
    if region and region[0]:
        variables["AWS_REGION"] = region[0]
    return variables


def _toolkit_variables(
    assignment: pb.TrialAssignment,
    tree: contract.TrialTree,
    gpus: tuple[str, ...],
    cpu_count: int,
) -> dict[str, str]:
    """Give what the toolkit sets."""
    typed = contract.typed_hyper_parameters(assignment.hyper_parameters)
    own = {name: value for name, value in typed.items() if not _is_for_platform(name)}
    channels = {
        channel.channel_name: str(tree.data / channel.channel_name)
        for channel in assignment.input_data_config
    }
    facts: dict[str, object] = {
        "current_host": contract.CURRENT_HOST,
        "hosts": [contract.CURRENT_HOST],
        "network_interface_name": contract.NETWORK_INTERFACE,
        "num_cpus": cpu_count,
        "num_gpus": len(gpus),
        "num_neurons": 0,
        "log_level": typed.get("sagemaker_container_log_level", logging.INFO),
        "model_dir": str(tree.model),
        "input_dir": str(tree.ml / "input"),
        "input_config_dir": str(tree.config),
        "output_dir": str(tree.output),
        "output_data_dir": str(tree.output_data),
        "resource_config": contract.resource_config(assignment),
        "input_data_config": contract.input_data_config(assignment),
    }
    training_env = {
        **facts,
        "additional_framework_parameters": {
            name: value for name, value in typed.items() if _is_for_platform(name)
        },
        "channel_input_dirs": channels,
        "hyperparameters": own,
        "is_master": True,
        "job_name": assignment.training_job_name,
        "master_hostname": contract.CURRENT_HOST,
        "module_dir": str(tree.code),
    }
    composed = {
        **facts,
        "channels": sorted(channels),
        "hps": own,
        "user_args": _user_arguments(own),
        "training_env": training_env,
        **{f"channel_{name}": path for name, path in channels.items()},
        **{f"hp_{name}": value for name, value in own.items()},
    }
    return {f"SM_{name.upper()}": _text(value) for name, value in composed.items()}


def _script_variables(
    assignment: pb.TrialAssignment, tree: contract.TrialTree, variables: Mapping[str, str]
) -> dict[str, str]:
    """Give what the toolkit sets for a script from an archive."""
    script = script_of(assignment.hyper_parameters)
    if script is None:
        return {}
    paths = [str(tree.code), *filter(None, [variables.get("PYTHONPATH")])]
    return {
        "SM_MODULE_DIR": script.source,
        "SM_MODULE_NAME": script.program.removesuffix(".py"),
        "SM_USER_ENTRY_POINT": script.program,
        # A script in a folder of the archive imports from the archive's root too.
        "PYTHONPATH": ":".join(paths),
    }


def user_arguments(hyper_parameters: Mapping[str, str]) -> list[str]:
    """Give a program's hyperparameters as the arguments that the toolkit calls it with."""
    typed = contract.typed_hyper_parameters(hyper_parameters)
    return _user_arguments({n: value for n, value in typed.items() if not _is_for_platform(n)})


def _is_for_platform(name: str) -> bool:
    return name.startswith("sagemaker_") or name in _PLATFORM_PARAMETERS


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _user_arguments(own: Mapping[str, object]) -> list[str]:
    """Give the hyperparameters as a command line: sorted, one letter after one hyphen."""
    arguments: list[str] = []
    for name in sorted(own):
        value = own[name]
        if isinstance(value, dict):
            text = ",".join(f"{key}={value[key]}" for key in sorted(value))
        else:
            text = "" if value is None else str(value)
        arguments += [f"--{name}" if len(name) > 1 else f"-{name}", text]
    return arguments
