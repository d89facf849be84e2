from __future__ import annotations

from dataclasses import replace

import pytest

from tests.server.domain.create_requests import (
    SITE,
    CreateRequest,
    add_channel,
    create_request,
    plural_request,
)
from tests.server.domain.validation.rule_checks import Edit, found, paths, rule_violations
from tunesmith_server.domain.validation.search_space import Finding

SPECIFICATION = "TrainingJobDefinition.AlgorithmSpecification"


def runs(algorithm: str = "", image: str = "", command: tuple[str, ...] = ()) -> CreateRequest:
    request = create_request()
    specification = request.training_job_definition.algorithm_specification
    specification.algorithm_name = algorithm
    specification.training_image = image
    specification.container_entrypoint[:] = command
    return request


@pytest.mark.parametrize(
    "request_",
    [
        runs(algorithm="forest"),
        runs(algorithm="arn:aws:sagemaker:eu-west-1:123456789012:algorithm/forest"),
        runs(image="registry.example/forest:1"),
        runs(command=("sh", "-c", "true")),
    ],
)
def test_each_way_of_naming_a_program_is_taken(request_: CreateRequest) -> None:
    assert rule_violations(request_) == ()


def test_a_program_is_named_once() -> None:
    request = runs(algorithm="forest", image="registry.example/forest:1", command=("sh",))
    assert found(request, "program_is_named_once") == [
        Finding(
            path=f"{SPECIFICATION}.ContainerEntrypoint",
            message="AlgorithmName and TrainingImage and ContainerEntrypoint are given; exactly one of "
            "them says what runs",
        )
    ]


def test_something_must_run() -> None:
    assert paths(runs(), "program_is_named_once") == [SPECIFICATION]
    assert paths(runs(), "objective_metric_is_defined") == []


def test_an_unknown_algorithm_is_told_with_the_line_that_registers_it() -> None:
    (refusal,) = found(runs(algorithm="tree"), "algorithm_is_registered")
    assert refusal.path == f"{SPECIFICATION}.AlgorithmName"
    assert "no algorithm called 'tree'" in refusal.message
    assert '[algorithms.tree] command = ["python", "train.py"]' in refusal.message


def test_an_unknown_image_is_told_with_the_line_that_maps_it() -> None:
    request = runs(image="registry.example/forest:2")
    (refusal,) = [v for v in rule_violations(request) if v.rule == "algorithm_is_registered"]
    assert refusal.path == f"{SPECIFICATION}.TrainingImage"
    assert '[images."registry.example/forest:2"] algorithm = "NAME"' in refusal.message
    assert refusal.unimplemented


def test_a_site_can_refuse_command_lines() -> None:
    site = replace(SITE, allow_inline_commands=False)
    assert paths(create_request(), "algorithm_is_registered", site) == [
        f"{SPECIFICATION}.ContainerEntrypoint"
    ]
    assert rule_violations(with_environment(runs(algorithm="forest")), site) == ()


SHARED = replace(SITE, allow_inline_commands=False)


def with_environment(request: CreateRequest, *names: str) -> CreateRequest:
    environment = request.training_job_definition.environment
    environment.clear()
    environment.update(dict.fromkeys(names, "../input/data/train"))
    return request


@pytest.mark.parametrize("name", ["PYTHONPATH", "PATH", "LD_PRELOAD", "HOME", "MODE"])
@pytest.mark.parametrize(
    "request_", [runs(algorithm="forest"), runs(image="registry.example/forest:1")]
)
def test_where_no_command_lines_are_run_variables_are_the_sites(
    name: str, request_: CreateRequest
) -> None:
    request = with_environment(request_, name)
    (refusal,) = found(request, "environment_is_the_sites", SHARED)
    assert refusal.path == f"TrainingJobDefinition.Environment.{name}"
    assert f'[algorithms.forest] environment_names = ["{name}"]' in refusal.message
    assert rule_violations(request) == ()


def test_variables_that_the_site_lists_are_taken() -> None:
    forest = replace(SITE.algorithms["forest"], environment_names=("MODE", "LEARNING_*"))
    site = replace(SHARED, algorithms={"forest": forest})
    request = with_environment(runs(algorithm="forest"), "MODE", "LEARNING_RATE", "LEARNING_")
    assert rule_violations(request, site) == ()
    request = with_environment(runs(algorithm="forest"), "MODE2", "mode", "xLEARNING_", "LEARNING")
    assert len(paths(request, "environment_is_the_sites", site)) == 4
    (refusal, *_) = found(request, "environment_is_the_sites", site)
    assert "it takes MODE, LEARNING_*." in refusal.message


def test_each_of_several_definitions_has_its_variables_looked_at() -> None:
    request = plural_request()
    for definition in request.training_job_definitions:
        definition.algorithm_specification.ClearField("container_entrypoint")
        definition.algorithm_specification.algorithm_name = "forest"
    request.training_job_definitions[0].environment.clear()
    assert paths(request, "environment_is_the_sites", SHARED) == [
        "TrainingJobDefinitions[1].Environment.MODE"
    ]


def test_a_script_that_the_site_lets_in_brings_its_variables() -> None:
    request = with_environment(runs(image="sklearn:1"), "PYTHONPATH")
    static = request.training_job_definition.static_hyper_parameters
    static.update(sagemaker_program="a.py", sagemaker_submit_directory="s3://lab/a.tar.gz")
    assert rule_violations(request, replace(SHARED, pythons={"sklearn:1": "python"})) == ()
    (refusal,) = rule_violations(request, SHARED)
    assert refusal.rule == "algorithm_is_registered"


def test_a_command_line_begins_with_a_program() -> None:
    request = runs(algorithm="forest")
    specification = request.training_job_definition.algorithm_specification
    specification.container_arguments.append("--fast")
    assert paths(request, "entrypoint_names_a_program") == [f"{SPECIFICATION}.ContainerArguments"]
    request = runs(command=("", "x"))
    request.training_job_definition.algorithm_specification.container_arguments.append("--fast")
    assert paths(request, "entrypoint_names_a_program") == [
        f"{SPECIFICATION}.ContainerEntrypoint[0]"
    ]


def test_the_objective_must_be_among_the_metrics() -> None:
    request = create_request()
    objective = request.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective
    objective.metric_name = "accuracy"
    assert found(request, "objective_metric_is_defined") == [
        Finding(
            path=f"{SPECIFICATION}.MetricDefinitions",
            message="A metric is required for this hyperparameter tuning job objective. Provide a metric "
            "in the metric definitions.",
        )
    ]


def test_an_algorithms_own_metrics_count() -> None:
    request = runs(algorithm="forest")
    del request.training_job_definition.algorithm_specification.metric_definitions[:]
    assert rule_violations(request) == ()


def test_each_plural_definition_has_its_metric() -> None:
    request = plural_request()
    request.training_job_definitions[1].tuning_objective.metric_name = "accuracy"
    assert paths(request, "objective_metric_is_defined") == [
        "TrainingJobDefinitions[1].AlgorithmSpecification.MetricDefinitions"
    ]


@pytest.mark.parametrize(
    "regex", ["loss=([0-9.]+)", "no group", r"(?P<v>\d+) of (\d+)", "Loss = (.*?);"]
)
def test_a_regex_with_any_number_of_groups_is_taken(regex: str) -> None:
    request = create_request()
    request.training_job_definition.algorithm_specification.metric_definitions[0].regex = regex
    assert rule_violations(request) == ()


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        ("loss=(", "missing ): loss=("),
        ("(?=loss)", "invalid perl operator: (?="),
        ("(a{1000}){1000}", "invalid repetition size: {1000}"),
    ],
)
def test_a_regex_is_refused_in_re2s_words(regex: str, reason: str) -> None:
    request = create_request()
    request.training_job_definition.algorithm_specification.metric_definitions.add(
        name="other", regex=regex
    )
    (refusal,) = found(request, "metric_regexes_compile")
    assert refusal.path == f"{SPECIFICATION}.MetricDefinitions[1].Regex"
    assert refusal.message.endswith(f"searched with: {reason}")


@pytest.mark.parametrize(
    ("target", "rules"),
    # The second is how the largest number of 32 bits is commonly written, and rounds to it.
    [
        (0.0, []),
        (3.4028235e38, []),
        (3.403e38, ["target_has_32_bits"]),
        (-1e39, ["target_has_32_bits"]),
    ],
)
def test_a_target_is_a_number_of_32_bits(target: float, rules: list[str]) -> None:
    request = create_request()
    criteria = request.hyper_parameter_tuning_job_config.tuning_job_completion_criteria
    criteria.target_objective_metric_value = target
    refusals = rule_violations(request)
    assert [each.rule for each in refusals] == rules
    for refusal in refusals:
        assert refusal.path.endswith("TuningJobCompletionCriteria.TargetObjectiveMetricValue")
        assert f"is {target:g}, which numbers of 32 bits" in refusal.message
        assert refusal.message.endswith("give one from -3.4028235e+38 to 3.4028235e+38")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_channel_is_no_way_out_of_its_directory(name: str) -> None:
    request = create_request()
    add_channel(request, name)
    assert paths(request, "channels_have_usable_names") == [
        "TrainingJobDefinition.InputDataConfig[0].ChannelName"
    ]


def test_channels_have_names_of_their_own() -> None:
    request = create_request()
    for name in ("train", "test", "train"):
        add_channel(request, name)
    assert paths(request, "channels_have_usable_names") == [
        "TrainingJobDefinition.InputDataConfig[2].ChannelName"
    ]


def test_a_channel_has_one_source() -> None:
    request = create_request()
    add_channel(request)
    assert rule_violations(request) == ()
    source = request.training_job_definition.input_data_config[0].data_source
    source.dataset_source.SetInParent()
    path = "TrainingJobDefinition.InputDataConfig[0].DataSource"
    (refusal,) = found(request, "channels_have_one_source")
    assert refusal.path == path
    assert refusal.message.startswith("DataSource has S3DataSource and DatasetSource;")
    source.Clear()
    assert found(request, "channels_have_one_source")[0].message.startswith(
        "DataSource has nothing"
    )


NULLS: dict[str, Edit] = {
    "TrainingJobDefinition.Environment.MODE": lambda r: (
        r.training_job_definition.environment.update({"MODE": "a\0b"})
    ),
    "TrainingJobDefinition.StaticHyperParameters.x": lambda r: (
        r.training_job_definition.static_hyper_parameters.update({"x": "\0"})
    ),
    f"{SPECIFICATION}.ContainerEntrypoint[1]": lambda r: (
        r.training_job_definition.algorithm_specification.container_entrypoint.insert(1, "\0")
    ),
    "TrainingJobDefinition.OutputDataConfig.S3OutputPath": lambda r: setattr(
        r.training_job_definition.output_data_config, "s3_output_path", "file:///a\0b"
    ),
}


@pytest.mark.parametrize("path", NULLS)
def test_a_null_character_is_refused_where_it_is(path: str) -> None:
    request = create_request()
    NULLS[path](request)
    assert paths(request, "text_has_no_null_character") == [path]


ROOTED = replace(SITE, file_roots=("/srv/data", "/var/models"))


def output_to(uri: str) -> CreateRequest:
    request = create_request()
    request.training_job_definition.output_data_config.s3_output_path = uri
    return request


@pytest.mark.parametrize(
    "uri",
    ["file:///srv/data", "file://localhost/srv/data/a%20b/", "file:///srv/data//x", "s3://srv/etc",
     "file:///var/models/..a"],
)  # fmt: skip
def test_what_is_below_a_root_of_the_site_may_be_named(uri: str) -> None:
    assert rule_violations(output_to(uri), ROOTED) == ()


@pytest.mark.parametrize(
    "uri",
    ["file:///", "file:///etc/tunesmith.toml", "file:///srv/database", "file:///srv/data/../key",
     "file:///srv/data/%2e%2e/key", "file:///srv/data/.\t./key", "file:////srv/data", "file:///srv"],
)  # fmt: skip
def test_no_other_path_may_be_named(uri: str) -> None:
    path = "TrainingJobDefinition.OutputDataConfig.S3OutputPath"
    (refusal,) = found(output_to(uri), "file_uris_are_below_the_roots", ROOTED)
    assert refusal.path == path
    assert "file:// URIs lead below /srv/data, /var/models alone" in refusal.message
    assert paths(output_to(uri), "file_uris_are_below_the_roots") == []


def test_every_member_with_a_place_is_held_to_the_roots() -> None:
    request = create_request()
    add_channel(request)
    definition = request.training_job_definition
    definition.checkpoint_config.s3_uri = "file:///"
    definition.static_hyper_parameters.update(
        sagemaker_program="a.py", sagemaker_submit_directory='"file:///srv/data/\\u002e./a.tar.gz"'
    )
    none = replace(SITE, file_roots=())
    members = [
        "InputDataConfig[0].DataSource.S3DataSource.S3Uri",
        "OutputDataConfig.S3OutputPath",
        "CheckpointConfig.S3Uri",
        "StaticHyperParameters.sagemaker_submit_directory",
    ]
    expected = [f"TrainingJobDefinition.{member}" for member in members]
    assert paths(request, "file_uris_are_below_the_roots", none) == expected
    assert paths(request, "file_uris_are_below_the_roots", ROOTED) == [
        each for each in expected if "Output" not in each
    ]
    (refusal, *_) = found(request, "file_uris_are_below_the_roots", none)
    assert "file:// URIs lead nowhere" in refusal.message


def test_a_parents_name_is_given_once_and_is_not_the_jobs_own() -> None:
    request = create_request()
    parents = request.warm_start_config.parent_hyper_parameter_tuning_jobs
    for name in ("earlier", "EARLIER", "", "digits-1", "other"):
        parents.add(hyper_parameter_tuning_job_name=name)
    assert paths(request, "parents_are_named_once") == [
        f"WarmStartConfig.ParentHyperParameterTuningJobs[{index}].HyperParameterTuningJobName"
        for index in (1, 2, 3)
    ]


def test_tags_have_different_keys() -> None:
    request = create_request()
    request.tags.add(key="Team", value="a")
    assert rule_violations(request) == ()
    request.tags.add(key="team", value="a")
    assert paths(request, "tag_keys_are_different") == ["Tags[2].Key"]


@pytest.mark.parametrize("key", ["aws:team", "AWS:team", "aWs:"])
def test_tags_leave_awss_keys_to_aws(key: str) -> None:
    request = create_request()
    request.tags.add(key="laws:team", value="")
    request.tags.add(key="aws", value="")
    assert rule_violations(request) == ()
    request.tags.add(key=key, value="")
    (refusal,) = found(request, "tag_keys_are_free")
    assert refusal.path == "Tags[3].Key"
    assert f"{key!r} begins with aws:" in refusal.message
