"""A create request that is accepted as it stands, for tests to change."""

from __future__ import annotations

from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.site import Algorithm, MetricDefinition, Site

CreateRequest = pb.CreateHyperParameterTuningJobRequest
Definition = definition_pb.HyperParameterTrainingJobDefinition
Ranges = space_pb.ParameterRanges

RANDOM = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_RANDOM
GRID = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_GRID
BAYESIAN = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_BAYESIAN
HYPERBAND = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND
MAXIMIZE = job_pb.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MAXIMIZE
MINIMIZE = job_pb.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MINIMIZE

SITE = Site(
    algorithms={
        "forest": Algorithm(
            name="forest",
            command=("python", "forest.py"),
            environment={"THREADS": "1"},
            metric_definitions=(MetricDefinition(name="loss", regex=r"loss=(\S+)"),),
        )
    },
    images={"registry.example/forest:1": "forest"},
)


def definition() -> Definition:
    """Make a training job definition that runs a command line."""
    made = Definition(role_arn="arn:aws:iam::123456789012:role/tuner")
    made.algorithm_specification.training_input_mode = definition_pb.TRAINING_INPUT_MODE_FILE
    made.algorithm_specification.container_entrypoint.extend(["python", "train.py"])
    made.algorithm_specification.metric_definitions.add(name="loss", regex=r"loss=(\S+)")
    made.output_data_config.s3_output_path = "file:///var/models"
    made.stopping_condition.max_runtime_in_seconds = 600
    made.static_hyper_parameters["batch-size"] = "32"
    made.environment["MODE"] = "fast"
    return made


def add_ranges(ranges: Ranges) -> None:
    """Add one range of each kind."""
    ranges.continuous_parameter_ranges.add(
        name="lr",
        min_value="1e-4",
        max_value="0.1",
        scaling_type=space_pb.HYPER_PARAMETER_SCALING_TYPE_LOGARITHMIC,
    )
    ranges.integer_parameter_ranges.add(name="depth", min_value="2", max_value="9")
    ranges.categorical_parameter_ranges.add(name="kind", values=["a", "b"])


def create_request() -> CreateRequest:
    """Make the request."""
    request = CreateRequest(hyper_parameter_tuning_job_name="Digits-1")
    config = request.hyper_parameter_tuning_job_config
    config.strategy = RANDOM
    config.hyper_parameter_tuning_job_objective.type = MINIMIZE
    config.hyper_parameter_tuning_job_objective.metric_name = "loss"
    config.resource_limits.max_number_of_training_jobs = 24
    config.resource_limits.max_parallel_training_jobs = 2
    add_ranges(config.parameter_ranges)
    request.training_job_definition.CopyFrom(definition())
    request.tags.add(key="team", value="")
    return request


def grid_request() -> CreateRequest:
    """Make a request for a grid of 6 combinations, without saying how many."""
    request = create_request()
    config = request.hyper_parameter_tuning_job_config
    config.strategy = GRID
    config.resource_limits.ClearField("max_number_of_training_jobs")
    config.ClearField("parameter_ranges")
    config.parameter_ranges.categorical_parameter_ranges.add(name="kind", values=["a", "b"])
    config.parameter_ranges.categorical_parameter_ranges.add(name="size", values=["1", "2", "3"])
    return request


def plural_request() -> CreateRequest:
    """Make a request in the plural form, right as it stands."""
    request = create_request()
    request.ClearField("training_job_definition")
    request.hyper_parameter_tuning_job_config.ClearField("hyper_parameter_tuning_job_objective")
    request.hyper_parameter_tuning_job_config.ClearField("parameter_ranges")
    for name in ("first", "second"):
        made = request.training_job_definitions.add()
        made.CopyFrom(definition())
        made.definition_name = name
        made.tuning_objective.type = MINIMIZE
        made.tuning_objective.metric_name = "loss"
        add_ranges(made.hyper_parameter_ranges)
    return request


def add_channel(request: CreateRequest, name: str = "train") -> definition_pb.Channel:
    """Add a channel that reads a local directory."""
    channel = request.training_job_definition.input_data_config.add(channel_name=name)
    source = channel.data_source.s3_data_source
    source.s3_data_type = source_pb.S3_DATA_TYPE_S3_PREFIX
    source.s3_uri = "file:///data/train"
    return channel
