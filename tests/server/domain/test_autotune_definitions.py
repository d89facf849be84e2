"""What Autotune chooses where there are several definitions: in each its own, and limits for all."""

from __future__ import annotations

import pytest

from tests.server.domain.create_requests import SITE, CreateRequest, plural_request
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_server.domain.autotune import with_choices
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.job_spec import filled_request, read_job_spec
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.validation import validate_create

SECOND = "TrainingJobDefinitions[1]"


def autotuned(*hints: tuple[str, str]) -> CreateRequest:
    """Ask for the second definition's ranges, from hints, and for all limits, to be chosen."""
    request = plural_request()
    request.autotune.mode = job_pb.AUTOTUNE_MODE_ENABLED
    config = request.hyper_parameter_tuning_job_config
    config.ClearField("strategy")
    config.ClearField("resource_limits")
    second = request.training_job_definitions[1]
    second.tuning_objective.metric_name = "loss"
    second.ClearField("hyper_parameter_ranges")
    for name, hint in hints:
        second.hyper_parameter_ranges.auto_parameters.add(name=name, value_hint=hint)
    return request


def described(request: CreateRequest) -> CreateRequest:
    """Give what Describe shows of a request."""
    chosen = with_choices(request, site=SITE)
    return filled_request(read_job_spec(chosen, account=Account(), site=SITE, seed=1), SITE)


def refusal(request: CreateRequest) -> tuple[Violation, ...]:
    with pytest.raises(InvalidRequest) as refused:
        validate_create(with_choices(request, site=SITE), site=SITE)
    return refused.value.violations


def test_describe_shows_what_was_chosen_for_each_definition_and_for_all() -> None:
    shown = described(autotuned(("max_depth", "4"), ("shuffle", "true"), ("solver", "fast")))
    config = shown.hyper_parameter_tuning_job_config
    assert config.strategy == job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_BAYESIAN
    assert config.training_job_early_stopping_type == job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_OFF
    # Three ranges of the first definition and two of the second.
    assert config.resource_limits.max_number_of_training_jobs == 20 + 10 * 5
    assert config.resource_limits.max_parallel_training_jobs == 7
    assert not config.HasField("parameter_ranges")
    first, second = shown.training_job_definitions
    assert [each.name for each in first.hyper_parameter_ranges.integer_parameter_ranges] == [
        "depth"
    ]
    ranges = second.hyper_parameter_ranges
    assert not ranges.auto_parameters
    (depth,), (shuffle,) = ranges.integer_parameter_ranges, ranges.categorical_parameter_ranges
    assert (depth.name, depth.min_value, depth.max_value) == ("max_depth", "2", "8")
    assert (shuffle.name, list(shuffle.values)) == ("shuffle", ["true", "false"])
    assert second.static_hyper_parameters["solver"] == "fast"
    assert "solver" not in first.static_hyper_parameters
    assert {each.retry_strategy.maximum_retry_attempts for each in (first, second)} == {3}


@pytest.mark.parametrize("name", ["sagemaker_program", "sagemaker_submit_directory"])
def test_a_hint_that_is_an_order_is_refused_in_its_definition(name: str) -> None:
    request = autotuned(("max_depth", "4"), (name, "train.py"))
    (violation,) = refusal(request)
    assert violation.path == f"{SECOND}.HyperParameterRanges.AutoParameters[1].Name"
    assert violation.unimplemented
    assert "which script runs is not tuned" in violation.message


def test_a_wrong_hint_of_one_definition_keeps_no_other_from_being_chosen() -> None:
    request = autotuned(("max_depth", "4"), ("max_depth", "5"))
    first = request.training_job_definitions[0].hyper_parameter_ranges
    first.auto_parameters.add(name="max_leaves", value_hint="8")
    chosen = with_choices(request, site=SITE)
    kept = chosen.training_job_definitions[1].hyper_parameter_ranges
    assert len(kept.auto_parameters) == 2
    ranges = chosen.training_job_definitions[0].hyper_parameter_ranges
    assert not ranges.auto_parameters
    assert "max_leaves" in [each.name for each in ranges.integer_parameter_ranges]
    assert all(each.path.startswith(SECOND) for each in refusal(request))


def test_a_hint_may_have_the_name_of_another_definitions_hyperparameter() -> None:
    shown = described(autotuned(("depth", "4"), ("batch_size", "64")))
    first, second = (each.hyper_parameter_ranges for each in shown.training_job_definitions)
    assert (first.integer_parameter_ranges[0].max_value) == "9"
    assert (second.integer_parameter_ranges[0].max_value) == "8"


def test_a_definition_without_anything_to_tune_is_refused_by_its_place() -> None:
    (violation,) = refusal(autotuned(("solver", "fast")))
    assert violation.path == f"{SECOND}.HyperParameterRanges"


def test_hints_without_autotune_are_refused_where_they_stand() -> None:
    request = plural_request()
    request.training_job_definitions[1].hyper_parameter_ranges.auto_parameters.add(
        name="max_depth", value_hint="4"
    )
    (violation,) = refusal(request)
    assert violation.path == f"{SECOND}.HyperParameterRanges.AutoParameters"
    assert violation.message.endswith(f"in the other members of {SECOND}.HyperParameterRanges")
