from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor

from tests.server.domain.create_requests import (
    BAYESIAN,
    HYPERBAND,
    RANDOM,
    SITE,
    CreateRequest,
    add_channel,
    create_request,
    grid_request,
    plural_request,
)
from tests.server.domain.validation.rule_checks import Edit
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import resource_config_pb2 as resource_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.validation import check_constraints, validate_create
from tunesmith_server.domain.validation.members import inner_type
from tunesmith_server.domain.validation.rules.catalogue import RULES
from tunesmith_server.domain.validation.unserved import (
    RULED_OUT,
    SERVED,
    UNSERVED,
    check_served,
    singular_form,
)

WHOLE = frozenset(path for path in (*UNSERVED, *RULED_OUT) if path not in SERVED)


def members(descriptor: Descriptor, prefix: str = "") -> Iterator[str]:
    """Give the path of every member that is not inside one that is refused as a whole."""
    for field in descriptor.fields:
        path = f"{prefix}.{field.json_name}" if prefix else field.json_name
        yield path
        inner = inner_type(field)
        if (
            inner is not None
            and path not in WHOLE
            and (path in SERVED or singular_form(path) not in WHOLE)
        ):
            yield from members(inner, f"{path}[]" if field.is_repeated else path)


def test_every_member_is_served_or_refused_by_name() -> None:
    contract = set(members(CreateRequest.DESCRIPTOR))
    tables = SERVED | set(UNSERVED) | set(RULED_OUT)
    missing = {path for path in contract - tables if singular_form(path) not in tables}
    assert missing == set(), "neither served nor refused"
    assert tables - contract == set(), "not in the contract"


def test_no_member_is_in_two_tables() -> None:
    assert not SERVED & set(UNSERVED)
    assert not SERVED & set(RULED_OUT)
    assert not set(UNSERVED) & set(RULED_OUT)


def test_nothing_inside_a_member_that_is_refused_whole_is_in_a_table() -> None:
    tables = SERVED | set(UNSERVED) | set(RULED_OUT)
    for whole in WHOLE:
        assert not [path for path in tables if path.startswith((f"{whole}.", f"{whole}["))]


def test_members_that_are_ruled_out_name_a_rule() -> None:
    assert set(RULED_OUT.values()) <= {rule.__name__ for rule in RULES}


def definition(request: CreateRequest) -> definition_pb.HyperParameterTrainingJobDefinition:
    return request.training_job_definition


def channel(request: CreateRequest) -> definition_pb.Channel:
    return request.training_job_definition.input_data_config[0]


def s3(request: CreateRequest) -> source_pb.S3DataSource:
    return request.training_job_definition.input_data_config[0].data_source.s3_data_source


def resources(request: CreateRequest) -> resource_pb.ResourceConfig:
    return request.training_job_definition.resource_config


def tuning_resources(request: CreateRequest) -> resource_pb.HyperParameterTuningResourceConfig:
    return request.training_job_definition.hyper_parameter_tuning_resource_config


def set_strategy(
    request: CreateRequest, strategy: job_pb.HyperParameterTuningJobStrategyType.ValueType
) -> None:
    request.hyper_parameter_tuning_job_config.strategy = strategy


KEY = "arn:aws:kms:eu-west-1:123456789012:key/a"
PLAN = "arn:aws:sagemaker:eu-west-1:123456789012:training-plan/a-plan"


# For each refused member: a value that asks for what is not served.
ASKS: dict[str, Edit] = {
    "TrainingJobDefinition.AlgorithmSpecification.TrainingInputMode": lambda r: setattr(
        definition(r).algorithm_specification, "training_input_mode", 3
    ),
    "TrainingJobDefinition.InputDataConfig[].InputMode": lambda r: setattr(
        channel(r), "input_mode", 1
    ),
    "TrainingJobDefinition.InputDataConfig[].CompressionType": lambda r: setattr(
        channel(r), "compression_type", 2
    ),
    "TrainingJobDefinition.InputDataConfig[].RecordWrapperType": lambda r: setattr(
        channel(r), "record_wrapper_type", 2
    ),
    "TrainingJobDefinition.InputDataConfig[].ShuffleConfig": lambda r: setattr(
        channel(r).shuffle_config, "seed", 0
    ),
    "TrainingJobDefinition.InputDataConfig[].DataSource.FileSystemDataSource": lambda r: setattr(
        channel(r).data_source.file_system_data_source, "file_system_id", "fs-12345678"
    ),
    "TrainingJobDefinition.InputDataConfig[].DataSource.DatasetSource": lambda r: setattr(
        channel(r).data_source.dataset_source, "dataset_arn", "arn"
    ),
    "TrainingJobDefinition.InputDataConfig[].DataSource.S3DataSource.S3DataType": lambda r: setattr(
        s3(r), "s3_data_type", 1
    ),
    "TrainingJobDefinition.InputDataConfig[].DataSource.S3DataSource.S3Uri": lambda r: setattr(
        s3(r), "s3_uri", "https://host/key"
    ),
    "TrainingJobDefinition.InputDataConfig[].DataSource.S3DataSource.S3DataDistributionType": (
        lambda r: setattr(s3(r), "s3_data_distribution_type", 2)
    ),
    "TrainingJobDefinition.InputDataConfig[].DataSource.S3DataSource.AttributeNames": lambda r: s3(
        r
    ).attribute_names.append("a"),
    "TrainingJobDefinition.InputDataConfig[].DataSource.S3DataSource.InstanceGroupNames": (
        lambda r: s3(r).instance_group_names.append("a")
    ),
    "TrainingJobDefinition.InputDataConfig[].DataSource.S3DataSource.ModelAccessConfig.AcceptEula": (
        lambda r: setattr(s3(r).model_access_config, "accept_eula", True)
    ),
    "TrainingJobDefinition.InputDataConfig[].DataSource.S3DataSource.HubAccessConfig": (
        lambda r: setattr(s3(r).hub_access_config, "hub_content_arn", "a")
    ),
    "TrainingJobDefinition.VpcConfig": lambda r: definition(r).vpc_config.subnets.append("a"),
    "TrainingJobDefinition.OutputDataConfig.S3OutputPath": lambda r: setattr(
        definition(r).output_data_config, "s3_output_path", "https://example.org/a"
    ),
    "TrainingJobDefinition.ResourceConfig.InstanceCount": lambda r: setattr(
        resources(r), "instance_count", 2
    ),
    "TrainingJobDefinition.ResourceConfig.VolumeKmsKeyId": lambda r: setattr(
        resources(r), "volume_kms_key_id", KEY
    ),
    "TrainingJobDefinition.ResourceConfig.KeepAlivePeriodInSeconds": lambda r: setattr(
        resources(r), "keep_alive_period_in_seconds", 60
    ),
    "TrainingJobDefinition.ResourceConfig.InstanceGroups": lambda r: resources(
        r
    ).instance_groups.add(instance_type="local", instance_count=1, instance_group_name="g"),
    "TrainingJobDefinition.ResourceConfig.TrainingPlanArn": lambda r: setattr(
        resources(r), "training_plan_arn", PLAN
    ),
    "TrainingJobDefinition.ResourceConfig.InstancePlacementConfig.EnableMultipleJobs": lambda r: (
        setattr(resources(r).instance_placement_config, "enable_multiple_jobs", True)
    ),
    "TrainingJobDefinition.ResourceConfig.InstancePlacementConfig.PlacementSpecifications": (
        lambda r: resources(r).instance_placement_config.placement_specifications.add(
            instance_count=1
        )
    ),
    "TrainingJobDefinition.ResourceConfig.InstancePreferences": lambda r: resources(
        r
    ).instance_preferences.add(instance_type="local"),
    "TrainingJobDefinition.HyperParameterTuningResourceConfig.InstanceCount": lambda r: setattr(
        tuning_resources(r), "instance_count", 2
    ),
    "TrainingJobDefinition.HyperParameterTuningResourceConfig.VolumeKmsKeyId": lambda r: setattr(
        tuning_resources(r), "volume_kms_key_id", KEY
    ),
    "TrainingJobDefinition.HyperParameterTuningResourceConfig.AllocationStrategy": lambda r: (
        setattr(tuning_resources(r), "allocation_strategy", 1)
    ),
    "TrainingJobDefinition.HyperParameterTuningResourceConfig.InstanceConfigs": lambda r: (
        tuning_resources(r).instance_configs.add(
            instance_type="local", instance_count=1, volume_size_in_gb=1
        )
    ),
    "TrainingJobDefinition.StoppingCondition.MaxWaitTimeInSeconds": lambda r: setattr(
        definition(r).stopping_condition, "max_wait_time_in_seconds", 600
    ),
    "TrainingJobDefinition.StoppingCondition.MaxPendingTimeInSeconds": lambda r: setattr(
        definition(r).stopping_condition, "max_pending_time_in_seconds", 1800
    ),
    "TrainingJobDefinition.EnableNetworkIsolation": lambda r: setattr(
        definition(r), "enable_network_isolation", True
    ),
    "TrainingJobDefinition.EnableInterContainerTrafficEncryption": lambda r: setattr(
        definition(r), "enable_inter_container_traffic_encryption", True
    ),
    "TrainingJobDefinition.EnableManagedSpotTraining": lambda r: setattr(
        definition(r), "enable_managed_spot_training", True
    ),
    "TrainingJobDefinition.CheckpointConfig.S3Uri": lambda r: setattr(
        definition(r).checkpoint_config, "s3_uri", "https://host/checkpoints"
    ),
    "TrainingJobDefinition.CheckpointConfig.LocalPath": lambda r: setattr(
        definition(r).checkpoint_config,
        "local_path",
        "/tmp/checkpoints",  # noqa: S108 - refused
    ),
}


def test_every_refused_member_has_a_value_that_is_refused() -> None:
    assert set(ASKS) == set(UNSERVED)


@pytest.mark.parametrize("template", ASKS)
def test_a_member_that_is_not_served_is_refused_by_name(template: str) -> None:
    request = create_request()
    add_channel(request)
    assert check_served(request) == ()
    ASKS[template](request)
    (violation,) = check_served(request)
    assert violation.path == template.replace("[]", "[0]")
    assert violation.unimplemented
    assert violation.rule == "unserved"
    assert violation.message.startswith(template.rpartition(".")[2])
    assert " is not served by this release: " in violation.message


def test_defaults_of_what_is_not_served_are_taken() -> None:
    request = create_request()
    ours, job = definition(request), request.hyper_parameter_tuning_job_config
    job.strategy_config.SetInParent()
    ours.enable_network_isolation = False
    ours.enable_inter_container_traffic_encryption = False
    ours.enable_managed_spot_training = False
    ours.output_data_config.kms_key_id = ""
    ours.output_data_config.compression_type = definition_pb.OUTPUT_COMPRESSION_TYPE_NONE
    resources(request).instance_type = "ml.m5.large"
    resources(request).instance_count = 1
    resources(request).volume_size_in_gb = 30
    resources(request).volume_kms_key_id = ""
    resources(request).keep_alive_period_in_seconds = 0
    resources(request).instance_placement_config.enable_multiple_jobs = False
    reads = add_channel(request)
    reads.input_mode = definition_pb.TRAINING_INPUT_MODE_FILE
    reads.compression_type = definition_pb.COMPRESSION_TYPE_NONE
    reads.record_wrapper_type = definition_pb.RECORD_WRAPPER_NONE
    reads.content_type = "text/csv"
    s3(request).s3_data_distribution_type = source_pb.S3_DATA_DISTRIBUTION_FULLY_REPLICATED
    s3(request).model_access_config.accept_eula = False
    assert check_constraints(request) == ()
    validate_create(request, site=SITE)


@pytest.mark.parametrize(
    ("local_path", "is_served"),
    [
        ("", True),
        ("/opt/ml/checkpoints", True),
        ("/opt/ml/checkpoints/", True),
        ("/opt/ml/state/best", True),
        ("/opt/ml", False),
        ("/opt/ml/model", False),
        ("/opt/ml/output/data", False),
        ("/opt/ml/../checkpoints", False),
        ("/opt/ml/checkpoints/../../x", False),
        ("//opt/ml/checkpoints", False),
        ("/", False),
        ("checkpoints", False),
    ],
)
def test_checkpoints_are_served_where_a_process_has_a_place_for_them(
    local_path: str, *, is_served: bool
) -> None:
    request = create_request()
    config = definition(request).checkpoint_config
    config.s3_uri, config.local_path = "file:///checkpoints", local_path
    assert (check_served(request) == ()) == is_served
    if is_served:
        validate_create(request, site=SITE)


@pytest.mark.parametrize("strategy", [BAYESIAN, RANDOM])
def test_bayesian_and_random_are_served(
    strategy: job_pb.HyperParameterTuningJobStrategyType.ValueType,
) -> None:
    request = create_request()
    set_strategy(request, strategy)
    validate_create(request, site=SITE)


def test_grid_is_served() -> None:
    validate_create(grid_request(), site=SITE)


def test_hyperband_is_served() -> None:
    request = create_request()
    set_strategy(request, HYPERBAND)
    config = request.hyper_parameter_tuning_job_config
    config.strategy_config.hyperband_strategy_config.max_resource = 81
    validate_create(request, site=SITE)


def test_a_refusal_says_what_is_served() -> None:
    request = create_request()
    definition(
        request
    ).algorithm_specification.training_input_mode = definition_pb.TRAINING_INPUT_MODE_PIPE
    assert check_served(request)[0].message == (
        "TrainingInputMode Pipe is not served by this release: channels are not streamed yet; "
        "File works"
    )


def test_a_request_without_definitions_is_for_callers_that_run_the_trials() -> None:
    request = create_request()
    request.ClearField("training_job_definition")
    request.trial_lease_config.lease_duration_in_seconds = 60
    validate_create(request, site=SITE)


def test_a_key_for_what_goes_to_a_bucket_is_served() -> None:
    request = create_request()
    output = definition(request).output_data_config
    output.kms_key_id, output.s3_output_path = KEY, "s3://lab/models"
    assert check_served(request) == ()


def test_a_key_for_what_goes_to_a_directory_is_refused() -> None:
    request = create_request()
    output = definition(request).output_data_config
    output.kms_key_id, output.s3_output_path = KEY, "file:///srv/models"
    request.training_job_definitions.add().CopyFrom(definition(request))
    paths = [violation.path for violation in check_served(request)]
    assert paths == [
        "TrainingJobDefinition.OutputDataConfig.KmsKeyId",
        "TrainingJobDefinitions[0].OutputDataConfig.KmsKeyId",
    ]
    assert "one works where S3OutputPath leads to a bucket" in check_served(request)[0].message


def script_mode(**hyperparameters: str) -> CreateRequest:
    request = create_request()
    for name, value in hyperparameters.items():
        definition(request).static_hyper_parameters[f"sagemaker_{name}"] = value
    return request


@pytest.mark.parametrize(
    "source",
    ['"s3://bucket/job/source/sourcedir.tar.gz"', "s3://b-1/s.tar.gz", '"file:///srv/s.tar.gz"'],
)
def test_a_script_from_an_archive_is_served(source: str) -> None:
    assert check_served(script_mode(program='"train.py"', submit_directory=source)) == ()


@pytest.mark.parametrize(
    "source", ['"https://host/s.tar.gz"', "/opt/ml/code", '"s3://bucket/code"']
)
def test_a_script_from_elsewhere_is_refused(source: str) -> None:
    (violation,) = check_served(script_mode(program='"train.py"', submit_directory=source))
    assert violation.path == (
        "TrainingJobDefinition.StaticHyperParameters.sagemaker_submit_directory"
    )
    assert "the file:// or s3:// URI of a .tar.gz works" in violation.message
    assert violation.unimplemented


@pytest.mark.parametrize("name", ["program", "submit_directory"])
def test_half_of_script_mode_is_refused(name: str) -> None:
    (violation,) = check_served(script_mode(**{name: '"s3://bucket/s.tar.gz"'}))
    assert violation.path == f"TrainingJobDefinition.StaticHyperParameters.sagemaker_{name}"
    assert violation.message.endswith("; give both, or neither")


def test_which_script_runs_is_not_tuned() -> None:
    request = create_request()
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    ranges.categorical_parameter_ranges.add(name="sagemaker_program", values=["a.py", "b.py"])
    (violation,) = check_served(request)
    assert violation.path == (
        "HyperParameterTuningJobConfig.ParameterRanges.CategoricalParameterRanges[1].Name"
    )
    assert violation.message == (
        "Name sagemaker_program is not served by this release: which script runs is not tuned; make "
        "it static, or give a definition for each script"
    )
    assert violation.unimplemented


def test_other_hyperparameters_of_sagemakers_are_passed_on() -> None:
    request = create_request()
    for name in ("sagemaker_region", "sagemaker_job_name", "sagemaker_container_log_level"):
        definition(request).static_hyper_parameters[name] = "20"
    validate_create(request, site=SITE)


def test_what_sagemaker_would_refuse_too_is_not_called_unserved() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.strategy = 77  # type: ignore[assignment]
    definition(request).stopping_condition.max_wait_time_in_seconds = 700
    with pytest.raises(InvalidRequest) as refusal:
        validate_create(request, site=SITE)
    assert [violation.rule for violation in refusal.value.violations] == [
        "enum.defined_only",
        "spot_training_has_a_wait_limit",
    ]
    assert not any(violation.unimplemented for violation in refusal.value.violations)


@pytest.mark.parametrize(
    "template", [path for path in ASKS if path.startswith("TrainingJobDefinition.")]
)
def test_what_is_refused_of_the_only_definition_is_refused_of_each_of_several(
    template: str,
) -> None:
    request = create_request()
    add_channel(request)
    ASKS[template](request)
    several = plural_request()
    asked = several.training_job_definitions[1]
    asked.MergeFrom(request.training_job_definition)
    paths = [violation.path for violation in check_served(several)]
    assert paths == [template.replace("[]", "[0]").replace("Definition.", "Definitions[1].", 1)]


def test_script_mode_is_refused_of_each_of_several_definitions() -> None:
    request = plural_request()
    request.training_job_definitions[1].static_hyper_parameters["sagemaker_program"] = "train.py"
    (violation,) = check_served(request)
    assert violation.path == "TrainingJobDefinitions[1].StaticHyperParameters.sagemaker_program"
