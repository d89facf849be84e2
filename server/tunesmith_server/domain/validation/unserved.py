"""Which members this release honours, and which it refuses by name: nothing is taken and ignored.

Three tables cover every member of a create request, which a test checks against the contract. What
is said of a member of ``TrainingJobDefinition`` holds for one of ``TrainingJobDefinitions`` too,
unless a table has that by its own name.
A member that moves from ``UNSERVED`` to ``SERVED`` is a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from google.protobuf.message import Message

from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import Violation
from tunesmith_server.domain.site import PROGRAM, SUBMIT_DIRECTORY
from tunesmith_server.domain.validation.members import Member, walk
from tunesmith_server.domain.validation.search_space import named_ranges
from tunesmith_server.domain.validation.wording import enum_spellings, excerpt


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved:
    """Say of a member when it is refused, and what to do meanwhile.

    Attributes:
        asks: Whether a value asks for what is not served; its default never does.
        because: What is missing, in plain words.
        instead: What is served.
    """

    asks: Callable[[object], bool]
    because: str
    instead: str = "leave it out"


def check_served(request: pb.CreateHyperParameterTuningJobRequest) -> tuple[Violation, ...]:
    """List the members that ask for what this release does not serve."""
    return tuple(_unserved_members(request))


def _unserved_members(request: pb.CreateHyperParameterTuningJobRequest) -> Iterator[Violation]:
    for member in walk(request):
        template = member.path.template
        entry = UNSERVED.get(template)
        if entry is None and template not in SERVED:
            entry = UNSERVED.get(singular_form(template))
        if entry is not None and entry.asks(member.value):
            yield _refusal(str(member.path), entry, shown=_shown(member))
    yield from _script_mode(request)
    yield from _encryption(request)


def _encryption(request: pb.CreateHyperParameterTuningJobRequest) -> Iterator[Violation]:
    """Find the keys for output that does not go to a bucket."""
    definitions = [(_DEFINITION, request.training_job_definition)]
    definitions += [
        (f"{_DEFINITIONS}[{index}]", each)
        for index, each in enumerate(request.training_job_definitions)
    ]
    for path, definition in definitions:
        output = definition.output_data_config
        if output.kms_key_id and not output.s3_output_path.startswith("s3://"):
            shown = f" {excerpt(output.kms_key_id)}"
            yield _refusal(f"{path}.OutputDataConfig.KmsKeyId", _OUTPUT_KEY, shown=shown)


def _script_mode(request: pb.CreateHyperParameterTuningJobRequest) -> Iterator[Violation]:
    """Find the hyperparameters that are orders, not values for the program, and can't be obeyed."""
    shared = request.hyper_parameter_tuning_job_config.parameter_ranges
    definitions = [(_DEFINITION, request.training_job_definition)]
    spaces = [(f"{_CONFIG}.ParameterRanges", shared)]
    for index, each in enumerate(request.training_job_definitions):
        path = f"{_DEFINITIONS}[{index}]"
        definitions.append((path, each))
        spaces.append((f"{path}.HyperParameterRanges", each.hyper_parameter_ranges))
    for path, definition in definitions:
        static = definition.static_hyper_parameters
        given = [name for name in SCRIPT_MODE if name in static]
        if len(given) == 1:
            shown = f" {excerpt(static[given[0]])}"
            yield _refusal(f"{path}.StaticHyperParameters.{given[0]}", _HALF, shown=shown)
        elif given and not _is_fetched(static[SUBMIT_DIRECTORY]):
            shown = f" {excerpt(static[SUBMIT_DIRECTORY])}"
            where = f"{path}.StaticHyperParameters.{SUBMIT_DIRECTORY}"
            yield _refusal(where, _SOURCE, shown=shown)
    for path, ranges in spaces:
        for where, tuned in named_ranges(ranges, path):
            if tuned.name in SCRIPT_MODE:
                yield _refusal(f"{where}.Name", _TUNED, shown=f" {tuned.name}")


def _is_fetched(source: str) -> bool:
    """Tell whether a script's archive is where runners fetch from; the SDK sends it in quotes."""
    uri = source.removeprefix('"')
    return not _is_out_of_reach(uri) and uri.removesuffix('"').endswith(".tar.gz")


def singular_form(template: str) -> str:
    """Give a member of one of several definitions as that of the only one."""
    return template.replace(f"{_DEFINITIONS}[].", f"{_DEFINITION}.", 1)


def _refusal(path: str, entry: Unserved, *, shown: str) -> Violation:
    name = path.rpartition(".")[2]
    return Violation(
        path=path,
        message=f"{name}{shown} is not served by this release: {entry.because}; {entry.instead}",
        rule="unserved",
        unimplemented=True,
    )


def _shown(member: Member) -> str:
    value = member.value
    if not isinstance(value, str | int | float):
        return ""
    if isinstance(value, int):
        value = enum_spellings(member.field).get(value, value)
    return f" {excerpt(value)}"


def _is_set(value: object) -> bool:
    """Tell whether a member holds anything: an empty message, list or text and 0 do not."""
    return value.ByteSize() > 0 if isinstance(value, Message) else bool(value)


def _always(_value: object) -> bool:
    return True


def _other_than(*served: int) -> Callable[[object], bool]:
    return lambda value: value not in served


def _more_than_one(value: object) -> bool:
    return isinstance(value, int) and value > 1


def _is_out_of_reach(value: object) -> bool:
    return isinstance(value, str) and not value.startswith(("file://", "s3://"))


#: What lies under /opt/ml and has another meaning.
_TAKEN = ("input", "model", "output", "code")


def _is_no_place_for_checkpoints(value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    root, *parts = PurePosixPath(value).parts or ("",)
    is_inside = [root, *parts[:2]] == ["/", "opt", "ml"] and ".." not in parts
    return not is_inside or not parts[2:] or parts[2] in _TAKEN


_MODES = Unserved(
    asks=_other_than(definition_pb.TRAINING_INPUT_MODE_FILE),
    because="channels are not streamed yet",
    instead="File works",
)
_URI = Unserved(
    asks=_is_out_of_reach,
    because="web addresses are not reached yet",
    instead="a file:// URI works, and an s3:// one of a bucket that the site has a directory for or reaches",
)
_GANG = Unserved(
    asks=_more_than_one,
    because="a training job runs on one instance so far",
    instead="1 works",
)
_GANGS = Unserved(asks=_is_set, because="a training job runs on one instance so far")
_KEYS = Unserved(asks=_is_set, because="nothing is encrypted with named keys yet")
_OUTPUT_KEY = Unserved(
    asks=_always,
    because="files of a host are not encrypted with named keys yet",
    instead="one works where S3OutputPath leads to a bucket over the network",
)
_PLACEMENT = Unserved(asks=_is_set, because="training jobs cannot be sent to chosen runners yet")
_SPOT = Unserved(asks=_is_set, because="training jobs are not interrupted and resumed yet")
_HUBS = Unserved(asks=_is_set, because="hubs of models and data sets are not mapped yet")
_ALTERNATIVES = Unserved(
    asks=_is_set,
    because="one instance type is asked for, without alternatives, so far",
    instead="InstanceType works",
)

_HALF = Unserved(
    asks=_always,
    because=f"a script is named by {PROGRAM}, and is in the archive of {SUBMIT_DIRECTORY}",
    instead="give both, or neither",
)
_SOURCE = Unserved(
    asks=_always,
    because="scripts come from elsewhere not yet",
    instead="the file:// or s3:// URI of a .tar.gz works",
)
_TUNED = Unserved(
    asks=_always,
    because="which script runs is not tuned",
    instead="make it static, or give a definition for each script",
)

SCRIPT_MODE = (PROGRAM, SUBMIT_DIRECTORY)
"""Hyperparameters that ask for a script to be fetched and run."""

_CONFIG = "HyperParameterTuningJobConfig"
_CRITERIA = f"{_CONFIG}.TuningJobCompletionCriteria"
_DEFINITION = "TrainingJobDefinition"
_DEFINITIONS = "TrainingJobDefinitions"
_CHANNEL = f"{_DEFINITION}.InputDataConfig[]"
_S3 = f"{_CHANNEL}.DataSource.S3DataSource"
_RESOURCES = f"{_DEFINITION}.ResourceConfig"
_TUNING_RESOURCES = f"{_DEFINITION}.HyperParameterTuningResourceConfig"

_RANGES = (
    "IntegerParameterRanges",
    "IntegerParameterRanges[].Name",
    "IntegerParameterRanges[].MinValue",
    "IntegerParameterRanges[].MaxValue",
    "IntegerParameterRanges[].ScalingType",
    "ContinuousParameterRanges",
    "ContinuousParameterRanges[].Name",
    "ContinuousParameterRanges[].MinValue",
    "ContinuousParameterRanges[].MaxValue",
    "ContinuousParameterRanges[].ScalingType",
    "CategoricalParameterRanges",
    "CategoricalParameterRanges[].Name",
    "CategoricalParameterRanges[].Values",
    "AutoParameters",
    "AutoParameters[].Name",
    "AutoParameters[].ValueHint",
)

UNSERVED: Mapping[str, Unserved] = {
    f"{_DEFINITION}.AlgorithmSpecification.TrainingInputMode": _MODES,
    f"{_CHANNEL}.InputMode": _MODES,
    f"{_CHANNEL}.CompressionType": Unserved(
        asks=_other_than(definition_pb.COMPRESSION_TYPE_NONE),
        because="data are not decompressed yet",
        instead="None works",
    ),
    f"{_CHANNEL}.RecordWrapperType": Unserved(
        asks=_other_than(definition_pb.RECORD_WRAPPER_NONE),
        because="data are not wrapped into records yet",
        instead="None works",
    ),
    f"{_CHANNEL}.ShuffleConfig": Unserved(asks=_is_set, because="data are not shuffled yet"),
    f"{_CHANNEL}.DataSource.FileSystemDataSource": Unserved(
        asks=_is_set,
        because="file systems are not mapped to directories yet",
        instead="an S3DataSource with a file:// URI works",
    ),
    f"{_CHANNEL}.DataSource.DatasetSource": _HUBS,
    f"{_S3}.S3DataType": Unserved(
        asks=_other_than(source_pb.S3_DATA_TYPE_S3_PREFIX),
        because="manifests and conversations are not read yet",
        instead="S3Prefix works",
    ),
    f"{_S3}.S3Uri": _URI,
    f"{_S3}.S3DataDistributionType": Unserved(
        asks=_other_than(source_pb.S3_DATA_DISTRIBUTION_FULLY_REPLICATED),
        because="data are not divided among instances yet",
        instead="FullyReplicated works",
    ),
    f"{_S3}.AttributeNames": Unserved(asks=_is_set, because="augmented manifests are not read yet"),
    f"{_S3}.InstanceGroupNames": _GANGS,
    f"{_S3}.ModelAccessConfig.AcceptEula": _HUBS,
    f"{_S3}.HubAccessConfig": _HUBS,
    f"{_DEFINITION}.VpcConfig": Unserved(
        asks=_is_set, because="networks of a site are not mapped yet"
    ),
    f"{_DEFINITION}.OutputDataConfig.S3OutputPath": _URI,
    f"{_RESOURCES}.InstanceCount": _GANG,
    f"{_RESOURCES}.VolumeKmsKeyId": _KEYS,
    f"{_RESOURCES}.KeepAlivePeriodInSeconds": Unserved(
        asks=_is_set, because="nothing is kept warm between training jobs yet", instead="0 works"
    ),
    f"{_RESOURCES}.InstanceGroups": _GANGS,
    f"{_RESOURCES}.TrainingPlanArn": _PLACEMENT,
    f"{_RESOURCES}.InstancePlacementConfig.EnableMultipleJobs": _PLACEMENT,
    f"{_RESOURCES}.InstancePlacementConfig.PlacementSpecifications": _PLACEMENT,
    f"{_RESOURCES}.InstancePreferences": _ALTERNATIVES,
    f"{_TUNING_RESOURCES}.InstanceCount": _GANG,
    f"{_TUNING_RESOURCES}.VolumeKmsKeyId": _KEYS,
    f"{_TUNING_RESOURCES}.AllocationStrategy": _ALTERNATIVES,
    f"{_TUNING_RESOURCES}.InstanceConfigs": _ALTERNATIVES,
    f"{_DEFINITION}.StoppingCondition.MaxWaitTimeInSeconds": _SPOT,
    f"{_DEFINITION}.StoppingCondition.MaxPendingTimeInSeconds": Unserved(
        asks=_is_set, because="a training job waits for a runner as long as it must, so far"
    ),
    f"{_DEFINITION}.EnableNetworkIsolation": Unserved(
        asks=_is_set, because="training jobs cannot be cut off from networks yet"
    ),
    f"{_DEFINITION}.EnableInterContainerTrafficEncryption": _GANGS,
    f"{_DEFINITION}.EnableManagedSpotTraining": _SPOT,
    f"{_DEFINITION}.CheckpointConfig.S3Uri": _URI,
    f"{_DEFINITION}.CheckpointConfig.LocalPath": Unserved(
        asks=_is_no_place_for_checkpoints,
        because="a training job is a process on its host, and has only a directory that stands for "
        "/opt/ml to itself",
        instead="/opt/ml/checkpoints works, as does another directory under /opt/ml that is not "
        f"under {', '.join(_TAKEN)}",
    ),
}

RULED_OUT: Mapping[str, str] = {
    f"{_DEFINITION}.TuningObjective": "singular_definition_has_no_search_of_its_own",
    f"{_DEFINITION}.HyperParameterRanges": "singular_definition_has_no_search_of_its_own",
    f"{_RESOURCES}.SelectedInstanceType": "selected_instances_are_not_asked_for",
    f"{_RESOURCES}.SelectedInstanceCount": "selected_instances_are_not_asked_for",
}
"""Members that a rule refuses in every request this release serves, with the rule."""

SERVED: frozenset[str] = frozenset(
    {
        "HyperParameterTuningJobName",
        _CONFIG,
        f"{_CONFIG}.Strategy",
        f"{_CONFIG}.StrategyConfig",
        f"{_CONFIG}.StrategyConfig.HyperbandStrategyConfig",
        f"{_CONFIG}.StrategyConfig.HyperbandStrategyConfig.MinResource",
        f"{_CONFIG}.StrategyConfig.HyperbandStrategyConfig.MaxResource",
        f"{_CONFIG}.HyperParameterTuningJobObjective",
        f"{_CONFIG}.HyperParameterTuningJobObjective.Type",
        f"{_CONFIG}.HyperParameterTuningJobObjective.MetricName",
        f"{_CONFIG}.ResourceLimits",
        f"{_CONFIG}.ResourceLimits.MaxNumberOfTrainingJobs",
        f"{_CONFIG}.ResourceLimits.MaxParallelTrainingJobs",
        f"{_CONFIG}.ResourceLimits.MaxRuntimeInSeconds",
        f"{_CONFIG}.ParameterRanges",
        *(f"{_CONFIG}.ParameterRanges.{member}" for member in _RANGES),
        f"{_CRITERIA}",
        f"{_CRITERIA}.TargetObjectiveMetricValue",
        f"{_CRITERIA}.BestObjectiveNotImproving",
        f"{_CRITERIA}.BestObjectiveNotImproving.MaxNumberOfTrainingJobsNotImproving",
        f"{_CRITERIA}.ConvergenceDetected",
        f"{_CRITERIA}.ConvergenceDetected.CompleteOnConvergence",
        f"{_CONFIG}.RandomSeed",
        f"{_CONFIG}.TrainingJobEarlyStoppingType",
        _DEFINITION,
        _DEFINITIONS,
        f"{_DEFINITIONS}[].TuningObjective",
        f"{_DEFINITIONS}[].TuningObjective.Type",
        f"{_DEFINITIONS}[].TuningObjective.MetricName",
        f"{_DEFINITIONS}[].HyperParameterRanges",
        *(f"{_DEFINITIONS}[].HyperParameterRanges.{member}" for member in _RANGES),
        f"{_DEFINITION}.DefinitionName",
        f"{_DEFINITION}.StaticHyperParameters",
        f"{_DEFINITION}.AlgorithmSpecification",
        f"{_DEFINITION}.AlgorithmSpecification.TrainingImage",
        f"{_DEFINITION}.AlgorithmSpecification.AlgorithmName",
        f"{_DEFINITION}.AlgorithmSpecification.MetricDefinitions",
        f"{_DEFINITION}.AlgorithmSpecification.MetricDefinitions[].Name",
        f"{_DEFINITION}.AlgorithmSpecification.MetricDefinitions[].Regex",
        f"{_DEFINITION}.AlgorithmSpecification.ContainerEntrypoint",
        f"{_DEFINITION}.AlgorithmSpecification.ContainerArguments",
        f"{_DEFINITION}.RoleArn",
        f"{_DEFINITION}.InputDataConfig",
        f"{_CHANNEL}.ChannelName",
        f"{_CHANNEL}.ContentType",
        f"{_CHANNEL}.DataSource",
        _S3,
        f"{_S3}.ModelAccessConfig",
        f"{_DEFINITION}.OutputDataConfig",
        f"{_DEFINITION}.OutputDataConfig.CompressionType",
        f"{_DEFINITION}.OutputDataConfig.KmsKeyId",
        _RESOURCES,
        f"{_RESOURCES}.InstanceType",
        f"{_RESOURCES}.VolumeSizeInGB",
        f"{_RESOURCES}.InstancePlacementConfig",
        _TUNING_RESOURCES,
        f"{_TUNING_RESOURCES}.InstanceType",
        f"{_TUNING_RESOURCES}.VolumeSizeInGB",
        f"{_DEFINITION}.StoppingCondition",
        f"{_DEFINITION}.StoppingCondition.MaxRuntimeInSeconds",
        f"{_DEFINITION}.Environment",
        f"{_DEFINITION}.CheckpointConfig",
        f"{_DEFINITION}.RetryStrategy",
        f"{_DEFINITION}.RetryStrategy.MaximumRetryAttempts",
        "Autotune",
        "Autotune.Mode",
        "WarmStartConfig",
        "WarmStartConfig.ParentHyperParameterTuningJobs",
        "WarmStartConfig.ParentHyperParameterTuningJobs[].HyperParameterTuningJobName",
        "WarmStartConfig.WarmStartType",
        "TrialLeaseConfig",
        "TrialLeaseConfig.LeaseDurationInSeconds",
        "TrialLeaseConfig.LeaseExpiryAction",
        "Tags",
        "Tags[].Key",
        "Tags[].Value",
    }
)
"""Members that are honoured whatever they say."""
