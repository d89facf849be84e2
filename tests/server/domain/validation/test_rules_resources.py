from __future__ import annotations

from dataclasses import replace

import pytest

from tests.server.domain.create_requests import SITE, create_request, grid_request
from tests.server.domain.validation.rule_checks import found, paths, rule_violations
from tunesmith_server.domain.instance_types import InstanceProfile

DEFINITION = "TrainingJobDefinition"
RESOURCES = f"{DEFINITION}.ResourceConfig"
TUNING = f"{DEFINITION}.HyperParameterTuningResourceConfig"
LIMITS = "HyperParameterTuningJobConfig.ResourceLimits"


def test_resources_are_given_in_one_place() -> None:
    request = create_request()
    request.training_job_definition.resource_config.instance_type = "local"
    assert rule_violations(request) == ()
    tuning = request.training_job_definition.hyper_parameter_tuning_resource_config
    tuning.instance_type = "local"
    assert paths(request, "resources_are_given_once") == [TUNING]
    request.training_job_definition.ClearField("resource_config")
    assert rule_violations(request) == ()


def test_an_unknown_instance_type_is_told_with_its_neighbours_and_the_line_that_adds_it() -> None:
    request = create_request()
    request.training_job_definition.resource_config.instance_type = "ml.m5.xlrge"
    (refusal,) = found(request, "instance_types_are_known")
    assert refusal.path == f"{RESOURCES}.InstanceType"
    assert "'ml.m5.xlrge'. Did you mean ml.m5.xlarge, " in refusal.message
    assert '[instance_types."ml.m5.xlrge"] vcpus = 4, memory_gib = 16, gpus = 0' in refusal.message


def test_a_name_like_no_other_has_no_neighbours() -> None:
    request = create_request()
    tuning = request.training_job_definition.hyper_parameter_tuning_resource_config
    tuning.instance_type = "?"
    (refusal,) = found(request, "instance_types_are_known")
    assert refusal.path == f"{TUNING}.InstanceType"
    assert "Did you mean" not in refusal.message


def test_a_sites_own_instance_types_are_known() -> None:
    request = create_request()
    request.training_job_definition.resource_config.instance_type = "desk"
    profile = InstanceProfile(vcpus=8, memory_bytes=2**34, gpus=1)
    assert rule_violations(request, replace(SITE, instance_types={"desk": profile})) == ()


def test_no_instance_runs_nothing() -> None:
    request = create_request()
    request.training_job_definition.resource_config.instance_count = 1
    assert rule_violations(request) == ()
    request.training_job_definition.resource_config.instance_count = 0
    assert paths(request, "instances_are_counted_from_one") == [f"{RESOURCES}.InstanceCount"]


def test_instance_groups_stand_alone() -> None:
    request = create_request()
    config = request.training_job_definition.resource_config
    config.instance_groups.add(instance_type="local", instance_count=2, instance_group_name="g")
    assert rule_violations(request) == ()
    config.instance_type = "local"
    config.instance_count = 1
    (refusal,) = found(request, "instance_alternatives_stand_alone")
    assert refusal.path == f"{RESOURCES}.InstanceGroups"
    assert "does not go with InstanceType and InstanceCount;" in refusal.message


def test_instance_preferences_stand_alone() -> None:
    request = create_request()
    config = request.training_job_definition.resource_config
    config.instance_preferences.add(instance_type="local")
    config.instance_count = 1  # the default of every preference
    assert rule_violations(request) == ()
    config.instance_type = "local"
    config.instance_placement_config.SetInParent()
    request.training_job_definition.enable_managed_spot_training = True
    (refusal,) = found(request, "instance_alternatives_stand_alone")
    assert refusal.path == f"{RESOURCES}.InstancePreferences"
    assert (
        "does not go with InstanceType and InstancePlacementConfig and EnableManagedSpotTraining;"
        in refusal.message
    )


def test_instance_preferences_do_not_go_with_groups() -> None:
    request = create_request()
    config = request.training_job_definition.resource_config
    config.instance_preferences.add(instance_type="local")
    config.instance_groups.add(instance_type="local", instance_count=2, instance_group_name="g")
    assert paths(request, "instance_alternatives_stand_alone") == [
        f"{RESOURCES}.InstancePreferences"
    ]


def test_instance_configs_stand_alone() -> None:
    request = create_request()
    config = request.training_job_definition.hyper_parameter_tuning_resource_config
    config.instance_configs.add(instance_type="local", instance_count=1, volume_size_in_gb=1)
    assert rule_violations(request) == ()
    config.volume_size_in_gb = 5
    assert paths(request, "instance_alternatives_stand_alone") == [f"{TUNING}.InstanceConfigs"]


def test_what_was_selected_is_not_asked_for() -> None:
    request = create_request()
    request.training_job_definition.resource_config.selected_instance_type = "local"
    request.training_job_definition.resource_config.selected_instance_count = 0
    assert paths(request, "selected_instances_are_not_asked_for") == [
        f"{RESOURCES}.SelectedInstanceType",
        f"{RESOURCES}.SelectedInstanceCount",
    ]


@pytest.mark.parametrize(
    ("is_spot", "max_runtime_s", "max_wait_s", "is_refused"),
    [
        (False, 600, 0, False),
        (False, 600, 600, True),
        (True, 600, 0, True),
        (True, 600, 599, True),
        (True, 600, 600, False),
        (True, 0, 86_399, True),
        (True, 0, 86_400, False),
    ],
)
def test_waiting_goes_with_spot_training(
    max_runtime_s: int, max_wait_s: int, *, is_spot: bool, is_refused: bool
) -> None:
    request = create_request()
    request.training_job_definition.enable_managed_spot_training = is_spot
    condition = request.training_job_definition.stopping_condition
    condition.max_runtime_in_seconds = max_runtime_s
    condition.max_wait_time_in_seconds = max_wait_s
    expected = [f"{DEFINITION}.StoppingCondition.MaxWaitTimeInSeconds"] if is_refused else []
    assert paths(request, "spot_training_has_a_wait_limit") == expected


def test_a_site_bounds_how_large_a_tuning_job_is() -> None:
    request = create_request()
    site = replace(SITE, max_training_jobs=23, max_parallel_training_jobs=1)
    assert paths(request, "limits_are_within_the_sites", site) == [
        f"{LIMITS}.MaxNumberOfTrainingJobs",
        f"{LIMITS}.MaxParallelTrainingJobs",
    ]
    site = replace(SITE, max_training_jobs=24, max_parallel_training_jobs=2)
    assert rule_violations(request, site) == ()


def test_a_grid_is_bounded_by_its_combinations() -> None:
    request = grid_request()
    assert paths(request, "limits_are_within_the_sites", replace(SITE, max_training_jobs=5)) == [
        f"{LIMITS}.MaxNumberOfTrainingJobs"
    ]
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    for index in range(28):
        values = [str(value) for value in range(30)]
        ranges.categorical_parameter_ranges.add(name=f"c{index}", values=values)
    assert paths(request, "limits_are_within_the_sites") == [f"{LIMITS}.MaxNumberOfTrainingJobs"]


def test_a_training_job_runs_28_days_at_most() -> None:
    request = create_request()
    condition = request.training_job_definition.stopping_condition
    condition.max_runtime_in_seconds = 2_419_200
    assert rule_violations(request) == ()
    condition.max_runtime_in_seconds = 2_419_201
    (refusal,) = found(request, "training_jobs_run_28_days_at_most")
    assert refusal.path == f"{DEFINITION}.StoppingCondition.MaxRuntimeInSeconds"
    assert "2419200 seconds, 28 days, at most" in refusal.message
