from __future__ import annotations

from dataclasses import replace

import pytest

from tests.server.domain.create_requests import (
    GRID,
    MAXIMIZE,
    SITE,
    add_ranges,
    create_request,
    definition,
    plural_request,
)
from tests.server.domain.validation.rule_checks import found, paths, rule_violations
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.validation import check_constraints, validate_create

CONFIG = "HyperParameterTuningJobConfig"
OWN_SEARCH = "plural_definitions_have_their_own_search"


def test_a_request_has_one_form_of_definition() -> None:
    request = create_request()
    request.training_job_definitions.add().CopyFrom(plural_request().training_job_definitions[0])
    assert paths(request, "definitions_have_one_form") == ["TrainingJobDefinitions"]


@pytest.mark.parametrize("request_", [create_request(), plural_request()])
def test_a_lease_is_for_trials_that_callers_run(
    request_: pb.CreateHyperParameterTuningJobRequest,
) -> None:
    request_.trial_lease_config.lease_duration_in_seconds = 60
    assert paths(request_, "leases_are_for_callers") == ["TrialLeaseConfig"]
    request_.ClearField("training_job_definition")
    request_.ClearField("training_job_definitions")
    assert paths(request_, "leases_are_for_callers") == []


def test_the_singular_form_has_its_search_in_the_jobs_own_part() -> None:
    request = create_request()
    request.training_job_definition.tuning_objective.metric_name = "loss"
    add_ranges(request.training_job_definition.hyper_parameter_ranges)
    assert paths(request, "singular_definition_has_no_search_of_its_own") == [
        "TrainingJobDefinition.TuningObjective",
        "TrainingJobDefinition.HyperParameterRanges",
    ]


def test_empty_ranges_in_the_singular_form_are_taken() -> None:
    request = create_request()
    request.training_job_definition.hyper_parameter_ranges.SetInParent()
    assert rule_violations(request) == ()


def test_the_plural_form_has_its_search_in_the_definitions() -> None:
    request = plural_request()
    config = request.hyper_parameter_tuning_job_config
    config.hyper_parameter_tuning_job_objective.metric_name = "loss"
    add_ranges(config.parameter_ranges)
    request.training_job_definitions[1].ClearField("tuning_objective")
    request.training_job_definitions[1].ClearField("hyper_parameter_ranges")
    assert paths(request, OWN_SEARCH) == [
        f"{CONFIG}.HyperParameterTuningJobObjective",
        f"{CONFIG}.ParameterRanges",
        "TrainingJobDefinitions[1].TuningObjective",
        "TrainingJobDefinitions[1].HyperParameterRanges",
    ]


def test_autotune_may_choose_a_definitions_ranges() -> None:
    request = plural_request()
    request.training_job_definitions[1].ClearField("hyper_parameter_ranges")
    request.autotune.mode = job_pb.AUTOTUNE_MODE_ENABLED
    assert paths(request, OWN_SEARCH) == []


def test_definitions_have_names_of_their_own() -> None:
    request = plural_request()
    request.training_job_definitions[1].definition_name = "first"
    request.training_job_definitions.add().CopyFrom(request.training_job_definitions[0])
    request.training_job_definitions[2].definition_name = ""
    assert paths(request, "plural_definitions_have_different_names") == [
        "TrainingJobDefinitions[1].DefinitionName",
        "TrainingJobDefinitions[2].DefinitionName",
    ]


def test_definitions_agree_on_what_is_better() -> None:
    request = plural_request()
    request.training_job_definitions[1].tuning_objective.type = MAXIMIZE
    assert paths(request, "plural_objectives_have_one_type") == [
        "TrainingJobDefinitions[1].TuningObjective.Type"
    ]
    request.training_job_definitions[0].tuning_objective.type = MAXIMIZE
    assert rule_violations(request) == ()


def test_the_singular_form_needs_an_objective() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.ClearField("hyper_parameter_tuning_job_objective")
    assert paths(request, "objective_is_given") == [f"{CONFIG}.HyperParameterTuningJobObjective"]
    # Which way a metric is better is not for the server to choose.
    request.autotune.mode = job_pb.AUTOTUNE_MODE_ENABLED
    assert paths(request, "objective_is_given") == [f"{CONFIG}.HyperParameterTuningJobObjective"]


@pytest.mark.parametrize(("count", "refused"), [(23, []), (24, ["TrainingJobDefinitions"])])
def test_the_environment_is_limited_over_all_definitions(count: int, refused: list[str]) -> None:
    request = plural_request()
    for index in range(count):
        request.training_job_definitions[0].environment[f"A{index}"] = "1"
    for index in range(23):
        request.training_job_definitions[1].environment[f"B{index}"] = "1"
    assert paths(request, "environments_are_small_enough") == refused


def test_one_definition_may_have_all_48_variables() -> None:
    request = create_request()
    for index in range(47):
        request.training_job_definition.environment[f"A{index}"] = "1"
    assert len(request.training_job_definition.environment) == 48
    assert rule_violations(request) == ()


def test_the_plural_form_excludes_early_stopping_and_warm_start() -> None:
    request = plural_request()
    config = request.hyper_parameter_tuning_job_config
    config.training_job_early_stopping_type = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO
    request.warm_start_config.parent_hyper_parameter_tuning_jobs.add(
        hyper_parameter_tuning_job_name="earlier"
    )
    assert paths(request, "plural_excludes_early_stopping") == [
        f"{CONFIG}.TrainingJobEarlyStoppingType"
    ]
    assert paths(request, "plural_excludes_warm_start") == ["WarmStartConfig"]
    request.ClearField("training_job_definitions")
    request.training_job_definition.CopyFrom(definition())
    assert paths(request, "plural_excludes_early_stopping") == []
    assert paths(request, "plural_excludes_warm_start") == []


def test_up_to_ten_definitions_are_taken() -> None:
    request = plural_request()
    for number in range(3, 11):
        request.training_job_definitions.add().CopyFrom(request.training_job_definitions[0])
        request.training_job_definitions[-1].definition_name = f"number-{number}"
    validate_create(request, site=SITE)
    request.training_job_definitions.add().CopyFrom(request.training_job_definitions[0])
    request.training_job_definitions[-1].definition_name = "number-11"
    with pytest.raises(InvalidRequest) as refusal:
        validate_create(request, site=SITE)
    assert [each.path for each in refusal.value.violations] == ["TrainingJobDefinitions"]


def test_one_definition_may_come_in_the_plural_form() -> None:
    request = plural_request()
    del request.training_job_definitions[1]
    validate_create(request, site=SITE)


@pytest.mark.parametrize(
    ("name", "is_right"), [("a" * 64, True), ("a" * 65, False), ("a_b", False)]
)
def test_a_definitions_name_has_64_letters_digits_and_hyphens(
    name: str,
    is_right: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    request = plural_request()
    request.training_job_definitions[1].definition_name = name
    violations = check_constraints(request)
    assert (not violations) == is_right
    assert {each.path for each in violations} <= {"TrainingJobDefinitions[1].DefinitionName"}


def test_the_environment_of_several_definitions_is_refused_by_name_with_its_count() -> None:
    request = plural_request()
    for number, each in enumerate(request.training_job_definitions):
        for index in range(24):
            each.environment[f"V{number}_{index}"] = "1"
    (finding,) = found(request, "environments_are_small_enough")
    assert "have 50 Environment entries together; at most 48" in finding.message


def test_the_site_limits_a_grid_over_all_definitions() -> None:
    request = plural_request()
    config = request.hyper_parameter_tuning_job_config
    config.strategy = GRID
    config.resource_limits.ClearField("max_number_of_training_jobs")
    for each in request.training_job_definitions:
        each.ClearField("hyper_parameter_ranges")
        each.hyper_parameter_ranges.categorical_parameter_ranges.add(
            name="kind", values=["a", "b", "c"]
        )
    assert rule_violations(request, replace(SITE, max_training_jobs=6)) == ()
    (violation,) = rule_violations(request, replace(SITE, max_training_jobs=5))
    assert violation.message == "The grid has 6 combinations; this site takes at most 5"


def test_a_grid_is_refused_in_the_definition_that_has_numbers() -> None:
    request = plural_request()
    request.hyper_parameter_tuning_job_config.strategy = GRID
    request.training_job_definitions[0].hyper_parameter_ranges.ClearField(
        "continuous_parameter_ranges"
    )
    request.training_job_definitions[0].hyper_parameter_ranges.ClearField(
        "integer_parameter_ranges"
    )
    ranges = "TrainingJobDefinitions[1].HyperParameterRanges"
    assert paths(request, "grid_needs_categorical_ranges") == [
        f"{ranges}.IntegerParameterRanges",
        f"{ranges}.ContinuousParameterRanges",
    ]


def test_combinations_are_counted_over_all_definitions() -> None:
    request = plural_request()
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    for each in request.training_job_definitions:
        each.ClearField("hyper_parameter_ranges")
        each.hyper_parameter_ranges.categorical_parameter_ranges.add(
            name="kind", values=["a", "b", "c"]
        )
    limits.max_number_of_training_jobs = 6
    assert paths(request, "combinations_suffice") == []
    limits.max_number_of_training_jobs = 7
    assert len(paths(request, "combinations_suffice")) == 1
