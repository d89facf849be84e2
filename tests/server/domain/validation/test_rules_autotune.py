from __future__ import annotations

from tests.server.domain.create_requests import (
    GRID,
    CreateRequest,
    Ranges,
    create_request,
    plural_request,
)
from tests.server.domain.validation.rule_checks import found, paths, rule_violations
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_server.domain.validation.search_space import Finding

RANGES = "HyperParameterTuningJobConfig.ParameterRanges"


def ranges_of(request: CreateRequest) -> Ranges:
    return request.hyper_parameter_tuning_job_config.parameter_ranges


def autotuned(request: CreateRequest) -> CreateRequest:
    request.autotune.mode = job_pb.AUTOTUNE_MODE_ENABLED
    return request


def of_callers() -> CreateRequest:
    request = autotuned(create_request())
    request.ClearField("training_job_definition")
    return request


def test_auto_parameters_need_autotune() -> None:
    request = create_request()
    ranges_of(request).auto_parameters.add(name="momentum", value_hint="0.9")
    assert paths(request, "auto_parameters_need_autotune") == [f"{RANGES}.AutoParameters"]
    autotuned(request)
    assert rule_violations(request) == ()


def test_autotune_must_find_something_to_tune() -> None:
    request = autotuned(create_request())
    ranges_of(request).Clear()
    request.hyper_parameter_tuning_job_config.resource_limits.max_number_of_training_jobs = 1
    assert found(request, "autotune_finds_something_to_tune") == [
        Finding(
            path=RANGES,
            message="Autotune finds no hyperparameter that it can tune; give a range, or "
            "AutoParameters with a number, true or false as ValueHint, or register the algorithm's "
            "hyperparameters in tunesmith.toml, [[algorithms.NAME.hyperparameters]]",
        )
    ]
    request.ClearField("autotune")
    assert rule_violations(request) == ()


def test_each_definition_must_have_something_to_tune() -> None:
    request = autotuned(plural_request())
    request.training_job_definitions[1].ClearField("hyper_parameter_ranges")
    assert paths(request, "autotune_finds_something_to_tune") == [
        "TrainingJobDefinitions[1].HyperParameterRanges"
    ]


def test_callers_have_nowhere_to_keep_a_hint_that_is_not_tuned() -> None:
    request = of_callers()
    for name, hint in (("rate", "0.1"), ("data", "s3://bucket/a"), ("seed", "4")):
        ranges_of(request).auto_parameters.add(name=name, value_hint=hint)
    told = found(request, "auto_parameters_of_callers_are_tuned")
    assert told[0] == Finding(
        path=f"{RANGES}.AutoParameters[1]",
        message="Hyperparameter 'data' is not tuned for the ValueHint 's3://bucket/a', and with "
        "trials that the caller runs there are no static hyperparameters to keep it in; leave it "
        "out, or give it a range",
    )
    assert [finding.path for finding in told[1:]] == [f"{RANGES}.AutoParameters[2]"]
    request.hyper_parameter_tuning_job_config.strategy = GRID
    assert len(paths(request, "auto_parameters_of_callers_are_tuned")) == 3


def test_callers_have_nowhere_to_keep_what_is_one_too_many() -> None:
    request = of_callers()
    for index in range(27):
        ranges_of(request).auto_parameters.add(name=f"a{index}", value_hint="4")
    assert rule_violations(request) == ()
    ranges_of(request).auto_parameters.add(name="last", value_hint="4")
    assert paths(request, "auto_parameters_of_callers_are_tuned") == [f"{RANGES}.AutoParameters"]
