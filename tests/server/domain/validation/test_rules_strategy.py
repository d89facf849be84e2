from __future__ import annotations

import pytest

from tests.server.domain.create_requests import (
    BAYESIAN,
    HYPERBAND,
    CreateRequest,
    create_request,
    grid_request,
    plural_request,
)
from tests.server.domain.validation.rule_checks import found, paths, rule_violations
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_server.domain.validation.search_space import Finding

CONFIG = "HyperParameterTuningJobConfig"


def hyperband_request() -> CreateRequest:
    request = create_request()
    request.hyper_parameter_tuning_job_config.strategy = HYPERBAND
    request.training_job_definition.static_hyper_parameters["epochs"] = "27"
    return request


@pytest.mark.parametrize("make", [create_request, grid_request, plural_request, hyperband_request])
def test_the_samples_break_no_rule(make: object) -> None:
    assert callable(make)
    assert rule_violations(make()) == ()


def test_grid_refuses_ranges_of_numbers() -> None:
    request = grid_request()
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    ranges.integer_parameter_ranges.add(name="depth", min_value="1", max_value="2")
    ranges.continuous_parameter_ranges.add(name="lr", min_value="0", max_value="1")
    assert found(request, "grid_needs_categorical_ranges") == [
        Finding(
            path=f"{CONFIG}.ParameterRanges.{kind}ParameterRanges",
            message=f"Grid search takes categorical ranges only; give the values of {name} in "
            "CategoricalParameterRanges, or use Bayesian",
        )
        for kind, name in (("Integer", "depth"), ("Continuous", "lr"))
    ]


@pytest.mark.parametrize("count", [0, 6])
def test_a_grid_may_say_how_many_combinations_it_has(count: int) -> None:
    request = grid_request()
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    limits.max_number_of_training_jobs = count
    assert rule_violations(request) == ()


@pytest.mark.parametrize("count", [1, 5, 7])
def test_a_grid_is_run_whole(count: int) -> None:
    request = grid_request()
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    limits.max_number_of_training_jobs = count
    assert found(request, "grid_runs_every_combination") == [
        Finding(
            path=f"{CONFIG}.ResourceLimits.MaxNumberOfTrainingJobs",
            message=f"MaxNumberOfTrainingJobs is {count}, and the grid has 6 combinations, each of which "
            "is run once; give 6, or leave it out",
        )
    ]


def test_repeated_values_of_a_grid_count_once() -> None:
    request = grid_request()
    config = request.hyper_parameter_tuning_job_config
    config.parameter_ranges.categorical_parameter_ranges[0].values.append("a")
    config.resource_limits.max_number_of_training_jobs = 6
    assert rule_violations(request) == ()


def test_a_grid_is_not_counted_where_its_ranges_are_broken() -> None:
    request = grid_request()
    config = request.hyper_parameter_tuning_job_config
    config.resource_limits.max_number_of_training_jobs = 5
    config.parameter_ranges.categorical_parameter_ranges[0].values[:] = []
    assert rule_violations(request) == ()


def test_only_hyperband_has_settings() -> None:
    request = create_request()
    config = request.hyper_parameter_tuning_job_config
    config.strategy_config.hyperband_strategy_config.max_resource = 9
    for strategy, refused in ((BAYESIAN, True), (HYPERBAND, False), (77, False)):
        config.strategy = strategy  # type: ignore[assignment]
        assert paths(request, "strategy_config_needs_hyperband") == (
            [f"{CONFIG}.StrategyConfig"] if refused else []
        )


def test_settings_that_say_nothing_go_with_any_strategy() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.strategy_config.SetInParent()
    assert rule_violations(request) == ()


def test_hyperband_does_not_go_with_early_stopping() -> None:
    request = hyperband_request()
    config = request.hyper_parameter_tuning_job_config
    config.training_job_early_stopping_type = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_OFF
    assert rule_violations(request) == ()
    config.training_job_early_stopping_type = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO
    path = f"{CONFIG}.TrainingJobEarlyStoppingType"
    assert paths(request, "hyperband_excludes_early_stopping") == [path]


@pytest.mark.parametrize(
    ("name", "value", "is_known"),
    [
        ("epochs", "27", True),
        ("numepochs", "1", True),
        ("n-epochs", "1", True),
        ("n_epochs", "1", True),
        ("num_epochs", "1", True),
        ("epochs", "0", False),
        ("epochs", "many", False),
        ("epochs", "", False),
        ("Epochs", "27", False),
    ],
)
def test_hyperband_takes_its_max_resource_from_a_count_of_epochs(
    name: str, value: str, *, is_known: bool
) -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.strategy = HYPERBAND
    request.training_job_definition.static_hyper_parameters[name] = value
    refusal = Finding(
        path=f"{CONFIG}.StrategyConfig.HyperbandStrategyConfig.MaxResource",
        message="MaxResource parameter is not provided and could not be inferred from provided static "
        "hyperparameters of TrainingJobDefinition.",
    )
    assert found(request, "hyperband_max_resource_is_known") == ([] if is_known else [refusal])


def test_a_given_max_resource_needs_no_epochs() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.strategy = HYPERBAND
    hyperband = request.hyper_parameter_tuning_job_config.strategy_config.hyperband_strategy_config
    hyperband.max_resource = 9
    assert rule_violations(request) == ()


@pytest.mark.parametrize(
    ("least", "most", "refused"),
    [
        (1, 20_000, []),
        (9, 9, []),
        (10, 9, ["MinResource"]),
        (1, 20_001, ["MaxResource"]),
        (-1, -2, []),  # constraints, of which nothing more is said
    ],
)
def test_hyperbands_resources_are_in_order(least: int, most: int, refused: list[str]) -> None:
    request = hyperband_request()
    hyperband = request.hyper_parameter_tuning_job_config.strategy_config.hyperband_strategy_config
    hyperband.min_resource, hyperband.max_resource = least, most
    prefix = f"{CONFIG}.StrategyConfig.HyperbandStrategyConfig"
    assert paths(request, "hyperband_resources_are_in_order") == [
        f"{prefix}.{member}" for member in refused
    ]


@pytest.mark.parametrize(("least", "is_refused"), [(5, False), (6, True)])
def test_a_min_resource_above_the_number_of_epochs_is_refused(
    least: int, *, is_refused: bool
) -> None:
    request = hyperband_request()
    hyperband = request.hyper_parameter_tuning_job_config.strategy_config.hyperband_strategy_config
    hyperband.min_resource = least
    request.training_job_definition.static_hyper_parameters["epochs"] = "5"
    refusal = Finding(
        path=f"{CONFIG}.StrategyConfig.HyperbandStrategyConfig.MinResource",
        message="MinResource is 6, above MaxResource, which, taken from the number of epochs, is 5; "
        "give at most that",
    )
    assert found(request, "hyperband_resources_are_in_order") == ([refusal] if is_refused else [])
