from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.server.domain.create_requests import (
    HYPERBAND,
    SITE,
    CreateRequest,
    create_request,
    grid_request,
)
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Scaling
from tunesmith_server.domain.completion import CompletionCriteria, Goal
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.history import Trace
from tunesmith_server.domain.job_spec import (
    filled_request,
    instance_of,
    read_job_spec,
    runtime_limit,
)
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.tuning_job import HalvingTerms, JobSpec, RetryTerms, Strategy
from tunesmith_server.domain.validation import check_constraints

ACCOUNT = Account(region="lab", account_id="123456789012")


def spec_of(request: CreateRequest, site: Site = SITE) -> JobSpec:
    return read_job_spec(request, account=ACCOUNT, site=site, seed=7)


def only_values(request: CreateRequest, *values: str) -> None:
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    ranges.Clear()
    ranges.categorical_parameter_ranges.add(name="kind", values=values)


def test_a_request_is_read_whole() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.resource_limits.max_runtime_in_seconds = 3600
    request.training_job_definition.definition_name = "forest"
    spec = spec_of(request)
    assert spec.request is request
    assert spec.arn == "arn:aws:sagemaker:lab:123456789012:hyper-parameter-tuning-job/digits-1"
    assert spec.strategy is Strategy.RANDOM
    assert spec.goal == Goal(maximise=False)
    assert spec.definition.metric_name == "loss"
    assert spec.definition.space.parameters == (
        Integer(name="depth", lo=2, hi=9),
        Continuous(name="lr", lo=1e-4, hi=0.1, scaling=Scaling.LOGARITHMIC),
        Categorical(name="kind", values=("a", "b")),
    )
    assert (spec.max_training_jobs, spec.max_parallel) == (24, 2)
    assert spec.max_runtime == timedelta(hours=1)
    assert spec.definition.name == "forest"


def test_a_seed_of_the_requests_own_comes_before_the_drawn_one() -> None:
    request = create_request()
    assert spec_of(request).seed == 7
    request.hyper_parameter_tuning_job_config.random_seed = 0
    assert spec_of(request).seed == 0


def test_larger_is_better_when_the_request_says_so() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective.type = (
        job_pb.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MAXIMIZE
    )
    assert spec_of(request).goal.maximise


def test_what_is_left_out_has_defaults() -> None:
    request = create_request()
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    limits.ClearField("max_number_of_training_jobs")
    spec = spec_of(request)
    assert spec.max_training_jobs == 750
    assert spec.max_runtime == timedelta(days=30)
    assert spec.definition.name is None


def test_a_small_space_is_run_out() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.resource_limits.max_number_of_training_jobs = 0
    only_values(request, "a", "b", "c")
    assert spec_of(request).max_training_jobs == 3


def test_a_sites_limit_bounds_the_default() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_config.resource_limits.max_number_of_training_jobs = 0
    assert spec_of(request, replace(SITE, max_training_jobs=40)).max_training_jobs == 40


def test_a_grid_is_as_long_as_its_combinations() -> None:
    request = grid_request()
    assert spec_of(request).max_training_jobs == 6
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    values = [str(number) for number in range(30)]
    for index in range(2):
        ranges.categorical_parameter_ranges.add(name=f"c{index}", values=values)
    assert spec_of(request).max_training_jobs == 5400  # beyond 750


def test_a_wrong_request_is_refused_with_all_that_is_wrong() -> None:
    request = create_request()
    request.hyper_parameter_tuning_job_name = "_"
    request.training_job_definition.enable_network_isolation = True
    with pytest.raises(InvalidRequest) as refusal:
        spec_of(request)
    assert len(refusal.value.violations) == 2


def test_a_trusted_request_is_read_though_the_site_has_changed() -> None:
    request = create_request()
    specification = request.training_job_definition.algorithm_specification
    del specification.container_entrypoint[:]
    specification.algorithm_name = "forest"
    spec = spec_of(request)
    with pytest.raises(InvalidRequest):
        spec_of(request, Site())
    again = read_job_spec(request, account=ACCOUNT, site=Site(), seed=7, trusted=True)
    assert again == spec
    shown = filled_request(again, Site()).training_job_definition.algorithm_specification
    assert shown.algorithm_name.endswith("algorithm/forest")


def test_a_request_that_was_never_checked_cannot_be_trusted() -> None:
    request = create_request()
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    ranges.integer_parameter_ranges[0].min_value = "x"
    with pytest.raises(ValueError, match="never checked: MinValue of 'depth'"):
        read_job_spec(request, account=ACCOUNT, site=SITE, seed=7, trusted=True)


def test_resources_are_read_from_either_member() -> None:
    definition = definition_pb.HyperParameterTrainingJobDefinition()
    assert instance_of(definition) == ("local", 0)
    tuning = definition.hyper_parameter_tuning_resource_config
    tuning.instance_type, tuning.volume_size_in_gb = "ml.m5.large", 9
    assert instance_of(definition) == ("ml.m5.large", 9)
    definition.ClearField("hyper_parameter_tuning_resource_config")
    definition.resource_config.instance_type = "ml.g5.xlarge"
    definition.resource_config.volume_size_in_gb = 30
    assert instance_of(definition) == ("ml.g5.xlarge", 30)


def test_a_training_job_runs_for_a_day_at_most_unless_told_otherwise() -> None:
    definition = definition_pb.HyperParameterTrainingJobDefinition()
    assert runtime_limit(definition) == timedelta(days=1)
    definition.stopping_condition.max_runtime_in_seconds = 90
    assert runtime_limit(definition) == timedelta(seconds=90)


def minimal_request() -> CreateRequest:
    request = create_request()
    config = request.hyper_parameter_tuning_job_config
    config.resource_limits.ClearField("max_number_of_training_jobs")
    for continuous in config.parameter_ranges.continuous_parameter_ranges:
        continuous.ClearField("scaling_type")
    definition = request.training_job_definition
    definition.stopping_condition.ClearField("max_runtime_in_seconds")
    definition.algorithm_specification.algorithm_name = "forest"
    del definition.algorithm_specification.container_entrypoint[:]
    del definition.algorithm_specification.metric_definitions[:]
    return request


def test_completion_criteria_are_read() -> None:
    request = minimal_request()
    assert spec_of(request).criteria == CompletionCriteria()
    given = request.hyper_parameter_tuning_job_config.tuning_job_completion_criteria
    given.target_objective_metric_value = 0.0
    given.best_objective_not_improving.max_number_of_training_jobs_not_improving = 3
    assert spec_of(request).criteria == CompletionCriteria(target=0.0, most_not_improving=3)


def test_retries_are_read_and_share_the_time_limit() -> None:
    request = minimal_request()
    assert spec_of(request).definition.retry_terms.most == 0
    definition = request.training_job_definition
    definition.retry_strategy.maximum_retry_attempts = 3
    definition.stopping_condition.max_runtime_in_seconds = 90
    assert spec_of(request).definition.retry_terms == RetryTerms(
        most=3, time_limit=timedelta(seconds=90)
    )


def test_a_trial_with_checkpoints_resumes_and_their_place_is_shown() -> None:
    request = minimal_request()
    assert not spec_of(request).definition.retry_terms.resumes
    request.training_job_definition.checkpoint_config.s3_uri = "file:///kept"
    spec = spec_of(request)
    assert spec.definition.retry_terms.resumes
    shown = filled_request(spec, SITE).training_job_definition.checkpoint_config
    assert (shown.s3_uri, shown.local_path) == ("file:///kept", "/opt/ml/checkpoints/")


def test_early_stopping_is_read_and_shown() -> None:
    request = minimal_request()
    assert not spec_of(request).stops_early
    auto = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO
    request.hyper_parameter_tuning_job_config.training_job_early_stopping_type = auto
    spec = spec_of(request)
    assert spec.stops_early
    shown = filled_request(spec, SITE).hyper_parameter_tuning_job_config
    assert shown.training_job_early_stopping_type == auto


def test_describe_shows_what_was_left_out() -> None:
    request = minimal_request()
    kept = request.SerializeToString(deterministic=True)
    filled = filled_request(spec_of(request), SITE)
    assert request.SerializeToString(deterministic=True) == kept
    config, definition = filled.hyper_parameter_tuning_job_config, filled.training_job_definition
    auto = space_pb.HYPER_PARAMETER_SCALING_TYPE_AUTO
    assert config.resource_limits.max_number_of_training_jobs == 750
    assert config.resource_limits.max_runtime_in_seconds == 30 * 86_400
    assert config.training_job_early_stopping_type == job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_OFF
    assert (
        config.tuning_job_completion_criteria.convergence_detected.complete_on_convergence
        == job_pb.COMPLETE_ON_CONVERGENCE_DISABLED
    )
    assert config.parameter_ranges.integer_parameter_ranges[0].scaling_type == auto
    assert config.parameter_ranges.continuous_parameter_ranges[0].scaling_type == auto
    assert definition.static_hyper_parameters == {
        "batch-size": "32",
        "_tuning_objective_metric": "loss",
    }
    assert definition.HasField("hyper_parameter_ranges")
    specification = definition.algorithm_specification
    assert specification.algorithm_name == "arn:aws:sagemaker:lab:123456789012:algorithm/forest"
    assert specification.HasField("training_image")
    assert [(each.name, each.regex) for each in specification.metric_definitions] == [
        ("loss", r"loss=(\S+)")
    ]
    config_shown = definition.resource_config
    assert (config_shown.instance_type, config_shown.instance_count) == ("local", 1)
    assert config_shown.HasField("volume_size_in_gb")
    assert definition.stopping_condition.max_runtime_in_seconds == 86_400
    for member in (
        "enable_network_isolation",
        "enable_inter_container_traffic_encryption",
        "enable_managed_spot_training",
    ):
        assert definition.HasField(member)
        assert not getattr(definition, member)


def test_describe_keeps_what_was_given() -> None:
    request = create_request()
    definition = request.training_job_definition
    tuning = definition.hyper_parameter_tuning_resource_config
    tuning.instance_type, tuning.volume_size_in_gb = "ml.m5.large", 9
    filled = filled_request(spec_of(request), SITE)
    shown = filled.training_job_definition
    assert shown.hyper_parameter_tuning_resource_config == tuning
    assert shown.resource_config.instance_type == "ml.m5.large"
    assert shown.resource_config.volume_size_in_gb == 9
    assert shown.stopping_condition.max_runtime_in_seconds == 600
    assert list(shown.algorithm_specification.container_entrypoint) == ["python", "train.py"]
    ranges = filled.hyper_parameter_tuning_job_config.parameter_ranges
    logarithmic = space_pb.HYPER_PARAMETER_SCALING_TYPE_LOGARITHMIC
    assert ranges.continuous_parameter_ranges[0].scaling_type == logarithmic
    assert (
        filled.hyper_parameter_tuning_job_config.resource_limits.max_number_of_training_jobs == 24
    )


def test_an_arn_of_an_algorithm_is_shown_as_it_was_given() -> None:
    request = minimal_request()
    arn = "arn:aws:sagemaker:elsewhere:210987654321:algorithm/forest"
    request.training_job_definition.algorithm_specification.algorithm_name = arn
    filled = filled_request(spec_of(request), SITE)
    assert filled.training_job_definition.algorithm_specification.algorithm_name == arn


def test_what_describe_shows_breaks_no_constraint() -> None:
    for request in (create_request(), minimal_request(), grid_request()):
        assert check_constraints(filled_request(spec_of(request), SITE)) == ()


# --- Hyperband ----------------------------------------------------------------------------


def hyperband_request(*, least: int = 0, most: int = 0) -> CreateRequest:
    request = create_request()
    config = request.hyper_parameter_tuning_job_config
    config.strategy = HYPERBAND
    if least:
        config.strategy_config.hyperband_strategy_config.min_resource = least
    if most:
        config.strategy_config.hyperband_strategy_config.max_resource = most
    return request


def tune_epochs(request: CreateRequest) -> None:
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    ranges.integer_parameter_ranges.add(name="epochs", min_value="10", max_value="90")


def halving_of(request: CreateRequest) -> HalvingTerms | None:
    return spec_of(request).definition.halving_terms


def test_how_far_a_training_job_came_is_read_off_its_values() -> None:
    terms = HalvingTerms(min_resource=1, max_resource=16)  # rungs at 1 and 4
    assert terms.trace({}, (), ()) == Trace()
    assert terms.trace({}, (1, 2, 3), (9.0, 8.0, 7.0)) == Trace(rungs=(9.0,))
    assert terms.trace({}, (2, 6), (9.0, 8.0)) == Trace(rungs=(9.0, 8.0))
    assert terms.trace({}, (5,), (9.0,)) == Trace(rungs=(9.0, 9.0))
    whole = Trace(rungs=(9.0, 8.0), is_whole=True)
    assert terms.trace({}, (1, 4, 16), (9.0, 8.0, 7.0)) == whole
    own = replace(terms, schedule="epochs")
    assert own.trace({"epochs": "8"}, (1, 2, 8), (9.0, 8.0, 7.0)) == whole


def test_hyperbands_resources_are_read_or_taken_from_the_epochs() -> None:
    assert halving_of(create_request()) is None
    assert halving_of(hyperband_request(least=2, most=81)) == HalvingTerms(
        min_resource=2, max_resource=81
    )
    static = hyperband_request()
    static.training_job_definition.static_hyper_parameters["num_epochs"] = "30"
    assert halving_of(static) == HalvingTerms(min_resource=None, max_resource=30)
    tuned = hyperband_request()
    tune_epochs(tuned)
    terms = halving_of(tuned)
    assert terms == HalvingTerms(min_resource=None, max_resource=90, schedule="epochs")
    assert terms.full_resource({"epochs": "45"}) == 45
    bounded = hyperband_request(most=20)
    tune_epochs(bounded)
    terms = halving_of(bounded)
    assert terms is not None
    assert [terms.full_resource({"epochs": text}) for text in ("10", "45")] == [10, 20]


@pytest.mark.parametrize("epochs", ["", "many", "0", "20001"])
def test_hyperband_needs_a_full_resource_that_can_be(epochs: str) -> None:
    request = hyperband_request()
    if epochs:
        request.training_job_definition.static_hyper_parameters["epochs"] = epochs
    with pytest.raises(InvalidRequest, match="MaxResource"):
        spec_of(request)


def test_describe_shows_the_full_resource_of_hyperband() -> None:
    request = hyperband_request()
    request.training_job_definition.static_hyper_parameters["epochs"] = "30"
    config = filled_request(spec_of(request), SITE).hyper_parameter_tuning_job_config
    assert config.strategy_config.hyperband_strategy_config.max_resource == 30
