"""Several definitions, read off a request and shown by Describe: each with its own of everything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.server.domain.create_requests import (
    GRID,
    MAXIMIZE,
    SITE,
    CreateRequest,
    add_ranges,
    plural_request,
)
from tests.server.domain.job_specs import CREATED_AT
from tunesmith import to_aws
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_core.space.ranges import Categorical
from tunesmith_server.domain.completion import Goal
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.job_spec import filled_request, metric_name_of, read_job_spec
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.trial import Trial, launch
from tunesmith_server.domain.tuning_job import JobSpec, RetryTerms, Strategy
from tunesmith_server.domain.validation import check_constraints

ACCOUNT = Account(region="lab", account_id="123456789012")


def spec_of(request: CreateRequest, site: Site = SITE) -> JobSpec:
    return read_job_spec(request, account=ACCOUNT, site=site, seed=7)


def two_algorithms() -> CreateRequest:
    """Make a request for a command line and a registered algorithm, alike in nothing."""
    request = plural_request()
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    limits.ClearField("max_number_of_training_jobs")
    first, second = request.training_job_definitions
    first.retry_strategy.maximum_retry_attempts = 2
    first.stopping_condition.max_runtime_in_seconds = 90
    first.resource_config.volume_size_in_gb = 3
    second.tuning_objective.metric_name = "oob"
    second.ClearField("hyper_parameter_ranges")
    second.hyper_parameter_ranges.integer_parameter_ranges.add(
        name="trees", min_value="1", max_value="9"
    )
    second.ClearField("static_hyper_parameters")
    second.stopping_condition.ClearField("max_runtime_in_seconds")
    specification = second.algorithm_specification
    specification.ClearField("container_entrypoint")
    specification.ClearField("metric_definitions")
    specification.metric_definitions.add(name="oob", regex=r"oob=(\S+)")
    specification.algorithm_name = "forest"
    return request


def values_only(request: CreateRequest, *counts: int) -> None:
    """Give each definition one categorical range of so many values."""
    request.hyper_parameter_tuning_job_config.resource_limits.max_number_of_training_jobs = 0
    for definition, count in zip(request.training_job_definitions, counts, strict=True):
        definition.ClearField("hyper_parameter_ranges")
        definition.hyper_parameter_ranges.categorical_parameter_ranges.add(
            name="kind", values=[str(number) for number in range(count)]
        )


def trial_of(definition_name: str | None) -> Trial:
    return launch(
        name="Digits-1-001-0123abcd",
        index=1,
        definition_name=definition_name,
        parameters={},
        now=CREATED_AT,
    )


def test_each_definition_is_read_with_its_own_search_and_program() -> None:
    request = two_algorithms()
    spec = spec_of(request)
    first, second = spec.definitions
    assert (first.name, first.metric_name) == ("first", "loss")
    assert (second.name, second.metric_name) == ("second", "oob")
    assert first.space.names == ("depth", "lr", "kind")
    assert second.space.names == ("trees",)
    assert first.message == request.training_job_definitions[0]
    assert second.message == request.training_job_definitions[1]
    assert first.retry_terms == RetryTerms(most=2, time_limit=timedelta(seconds=90))
    assert second.retry_terms == RetryTerms(most=0, time_limit=timedelta(days=1))
    assert spec.lease_terms is None
    assert spec.max_training_jobs == 750
    with pytest.raises(ValueError, match="too many values"):
        _ = spec.definition


def test_a_trial_is_of_the_definition_that_it_names() -> None:
    spec = spec_of(two_algorithms())
    for definition in spec.definitions:
        assert spec.definition_of(trial_of(definition.name)) is definition
    for unknown in ("third", None):
        with pytest.raises(LookupError, match=f"runs {unknown}, which is not defined"):
            spec.definition_of(trial_of(unknown))


def test_a_list_of_one_definition_is_the_plural_form_too() -> None:
    request = plural_request()
    del request.training_job_definitions[1]
    spec = spec_of(request)
    assert spec.definition.name == "first"
    filled = filled_request(spec, SITE)
    assert not filled.HasField("training_job_definition")
    assert len(filled.training_job_definitions) == 1
    assert not filled.hyper_parameter_tuning_job_config.HasField("parameter_ranges")


def test_the_goal_is_that_of_all_definitions() -> None:
    request = plural_request()
    assert spec_of(request).goal == Goal(maximise=False)
    for definition in request.training_job_definitions:
        definition.tuning_objective.type = MAXIMIZE
    assert spec_of(request).goal == Goal(maximise=True)


def test_a_grid_runs_the_combinations_of_all_definitions() -> None:
    request = plural_request()
    values_only(request, 4, 3)
    request.hyper_parameter_tuning_job_config.strategy = GRID
    spec = spec_of(request)
    assert (spec.strategy, spec.max_training_jobs) == (Strategy.GRID, 7)
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    limits.max_number_of_training_jobs = 7
    assert spec_of(request).max_training_jobs == 7
    limits.max_number_of_training_jobs = 4
    with pytest.raises(InvalidRequest, match="the grid has 7 combinations"):
        spec_of(request)


def test_small_spaces_are_run_out_together() -> None:
    request = plural_request()
    values_only(request, 4, 3)
    assert spec_of(request).max_training_jobs == 7
    # One that has no end has no sum.
    request.training_job_definitions[1].ClearField("hyper_parameter_ranges")
    add_ranges(request.training_job_definitions[1].hyper_parameter_ranges)
    assert spec_of(request).max_training_jobs == 750


def test_describe_lists_the_definitions_and_has_no_singular_one() -> None:
    request = two_algorithms()
    request.hyper_parameter_tuning_job_config.parameter_ranges.SetInParent()
    kept = request.SerializeToString(deterministic=True)
    filled = filled_request(spec_of(request), SITE)
    assert request.SerializeToString(deterministic=True) == kept
    assert not filled.HasField("training_job_definition")
    config = filled.hyper_parameter_tuning_job_config
    assert not config.HasField("parameter_ranges")
    assert not config.HasField("hyper_parameter_tuning_job_objective")
    assert config.resource_limits.max_number_of_training_jobs == 750
    assert [each.definition_name for each in filled.training_job_definitions] == ["first", "second"]


def test_describe_fills_in_each_definition_on_its_own() -> None:
    filled = filled_request(spec_of(two_algorithms()), SITE)
    first, second = filled.training_job_definitions
    assert first.static_hyper_parameters == {
        "batch-size": "32",
        "_tuning_objective_metric": "loss",
    }
    assert second.static_hyper_parameters == {"_tuning_objective_metric": "oob"}
    assert (first.tuning_objective.metric_name, second.tuning_objective.metric_name) == (
        "loss",
        "oob",
    )
    ranges = first.hyper_parameter_ranges
    auto = space_pb.HYPER_PARAMETER_SCALING_TYPE_AUTO
    logarithmic = space_pb.HYPER_PARAMETER_SCALING_TYPE_LOGARITHMIC
    assert ranges.continuous_parameter_ranges[0].scaling_type == logarithmic
    assert ranges.integer_parameter_ranges[0].scaling_type == auto
    assert second.hyper_parameter_ranges.integer_parameter_ranges[0].scaling_type == auto
    assert not first.algorithm_specification.algorithm_name
    assert second.algorithm_specification.algorithm_name == (
        "arn:aws:sagemaker:lab:123456789012:algorithm/forest"
    )
    # The algorithm's own metric, and the request's.
    metrics = second.algorithm_specification.metric_definitions
    assert {each.name for each in metrics} == {"loss", "oob"}
    for definition, volume, runtime_s in ((first, 3, 90), (second, 0, 86_400)):
        assert definition.algorithm_specification.HasField("training_image")
        shown = definition.resource_config
        assert (shown.instance_type, shown.instance_count) == ("local", 1)
        assert shown.volume_size_in_gb == volume
        assert definition.stopping_condition.max_runtime_in_seconds == runtime_s
        assert definition.HasField("enable_managed_spot_training")


def test_what_describe_shows_of_several_definitions_breaks_no_constraint() -> None:
    for request in (plural_request(), two_algorithms()):
        assert check_constraints(filled_request(spec_of(request), SITE)) == ()


def test_what_describe_shows_has_every_list_of_ranges_on_the_wire() -> None:
    echo = filled_request(spec_of(two_algorithms()), SITE)
    shown = to_aws(
        pb.DescribeHyperParameterTuningJobResponse(
            hyper_parameter_tuning_job_config=echo.hyper_parameter_tuning_job_config,
            training_job_definitions=echo.training_job_definitions,
        )
    )
    assert "TrainingJobDefinition" not in shown
    assert "ParameterRanges" not in shown["HyperParameterTuningJobConfig"]
    for definition in shown["TrainingJobDefinitions"]:
        assert {
            "IntegerParameterRanges",
            "ContinuousParameterRanges",
            "CategoricalParameterRanges",
        } <= set(definition["HyperParameterRanges"])


def test_the_objective_of_a_definition_is_found_by_its_name() -> None:
    request = two_algorithms()
    assert metric_name_of(request, "first") == "loss"
    assert metric_name_of(request, "second") == "oob"


def test_a_trusted_request_with_several_definitions_is_read_though_the_site_has_changed() -> None:
    request = two_algorithms()
    spec = spec_of(request)
    again = read_job_spec(request, account=ACCOUNT, site=Site(), seed=7, trusted=True)
    assert again == spec
    assert spec.definitions[0].space.parameters[2] == Categorical(name="kind", values=("a", "b"))
    shown = filled_request(again, Site()).training_job_definitions[1].algorithm_specification
    assert shown.algorithm_name.endswith("algorithm/forest")
