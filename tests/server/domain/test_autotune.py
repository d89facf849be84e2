from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.domain.create_requests import (
    BAYESIAN,
    GRID,
    HYPERBAND,
    RANDOM,
    SITE,
    CreateRequest,
    Ranges,
    create_request,
    plural_request,
)
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Parameter, Scaling
from tunesmith_server.domain.autotune import with_choices
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.job_spec import filled_request, read_job_spec
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Algorithm, MetricDefinition, Quotas, Site
from tunesmith_server.domain.validation import validate_create
from tunesmith_server.domain.validation.search_space import read_space

CONFIG = "HyperParameterTuningJobConfig"
AUTO_PARAMETERS = f"{CONFIG}.ParameterRanges.AutoParameters"
NO_STRATEGY = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_UNSPECIFIED
STOPPING_AUTO = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO
STOPPING_OFF = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_OFF


def autotuned(*hints: tuple[str, str]) -> CreateRequest:
    """Ask for everything to be chosen that can be, from some hints."""
    request = create_request()
    request.autotune.mode = job_pb.AUTOTUNE_MODE_ENABLED
    config = request.hyper_parameter_tuning_job_config
    for member in ("strategy", "resource_limits", "parameter_ranges"):
        config.ClearField(member)
    hint_at(config.parameter_ranges, *hints)
    return request


def of_callers(*hints: tuple[str, str]) -> CreateRequest:
    request = autotuned(*hints)
    request.ClearField("training_job_definition")
    return request


def hint_at(ranges: Ranges, *hints: tuple[str, str]) -> None:
    for name, hint in hints:
        ranges.auto_parameters.add(name=name, value_hint=hint)


def ranges_of(request: CreateRequest) -> Ranges:
    return request.hyper_parameter_tuning_job_config.parameter_ranges


def limits_of(request: CreateRequest) -> tuple[int, int, int]:
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    return (
        limits.max_number_of_training_jobs,
        limits.max_parallel_training_jobs,
        limits.max_runtime_in_seconds,
    )


def chosen(request: CreateRequest, site: Site = SITE) -> CreateRequest:
    """Give a request as it is stored: what is left out chosen, and found right."""
    filled = with_choices(request, site=site)
    validate_create(filled, site=site)
    return filled


def refusal(request: CreateRequest, site: Site = SITE) -> tuple[Violation, ...]:
    with pytest.raises(InvalidRequest) as refused:
        validate_create(with_choices(request, site=site), site=site)
    return refused.value.violations


def test_without_autotune_nothing_is_chosen() -> None:
    request = create_request()
    assert with_choices(request, site=SITE) is request
    request.autotune.SetInParent()
    assert with_choices(request, site=SITE) is request
    assert [each.path for each in refusal(request)] == ["Autotune.Mode"]


def test_what_is_left_out_is_chosen() -> None:
    request = autotuned(("max_depth", "4"))
    before = request.SerializeToString(deterministic=True)
    filled = chosen(request)
    assert request.SerializeToString(deterministic=True) == before
    config = filled.hyper_parameter_tuning_job_config
    (depth,) = config.parameter_ranges.integer_parameter_ranges
    assert (depth.name, depth.min_value, depth.max_value) == ("max_depth", "2", "8")
    assert not config.parameter_ranges.auto_parameters
    assert config.strategy == BAYESIAN
    assert limits_of(filled) == (7, 1, 30 * 86_400)  # as many as there are values
    assert config.training_job_early_stopping_type == STOPPING_AUTO
    convergence = config.tuning_job_completion_criteria.convergence_detected
    assert convergence.complete_on_convergence == job_pb.COMPLETE_ON_CONVERGENCE_ENABLED
    assert filled.training_job_definition.retry_strategy.maximum_retry_attempts == 3
    assert filled.autotune.mode == job_pb.AUTOTUNE_MODE_ENABLED


def test_hints_become_ranges_or_static_values() -> None:
    filled = chosen(
        autotuned(
            ("learning_rate", "0.001"),
            ("momentum", "0.9"),
            ("layers", "3"),
            ("shuffle", "True"),
            ("optimizer", '"sgd"'),
            ("image_shape", "3,224,224"),
            ("sagemaker_container_log_level", "20"),
            ("feature_dim", "784"),
        )
    )
    assert read_space(ranges_of(filled), "").trusted_space.parameters == (
        Integer(name="layers", lo=1, hi=6),
        Continuous(name="learning_rate", lo=1e-4, hi=1e-2, scaling=Scaling.LOGARITHMIC),
        Continuous(name="momentum", lo=0.45, hi=0.95),
        Categorical(name="shuffle", values=("True", "False")),
    )
    assert filled.training_job_definition.static_hyper_parameters == {
        "batch-size": "32",
        "optimizer": '"sgd"',
        "image_shape": "3,224,224",
        "sagemaker_container_log_level": "20",
        "feature_dim": "784",
    }


def test_what_is_given_is_not_changed() -> None:
    request = create_request()
    request.autotune.mode = job_pb.AUTOTUNE_MODE_ENABLED
    config = request.hyper_parameter_tuning_job_config
    config.resource_limits.max_runtime_in_seconds = 600
    config.training_job_early_stopping_type = STOPPING_OFF
    config.tuning_job_completion_criteria.convergence_detected.complete_on_convergence = (
        job_pb.COMPLETE_ON_CONVERGENCE_DISABLED
    )
    request.training_job_definition.retry_strategy.maximum_retry_attempts = 1
    assert chosen(request) == request


def test_hints_are_added_to_ranges_that_are_given() -> None:
    request = autotuned(("depth", "4"))
    ranges_of(request).continuous_parameter_ranges.add(name="x", min_value="0", max_value="1")
    filled = chosen(request)
    assert limits_of(filled)[:2] == (40, 4)
    assert [each.name for each in ranges_of(filled).continuous_parameter_ranges] == ["x"]
    assert [each.name for each in ranges_of(filled).integer_parameter_ranges] == ["depth"]


def test_the_first_thirty_are_tuned_and_the_rest_is_static() -> None:
    request = autotuned(*((f"p{index}", "0.5") for index in range(40)))
    filled = chosen(request)
    tuned = [each.name for each in ranges_of(filled).continuous_parameter_ranges]
    assert tuned == [f"p{index}" for index in range(30)]
    assert len(filled.training_job_definition.static_hyper_parameters) == 11
    assert limits_of(filled)[:2] == (250, 10)


@pytest.mark.parametrize(
    ("site", "limits"),
    [
        (replace(SITE, max_training_jobs=15), (15, 1)),
        (replace(SITE, max_parallel_training_jobs=2), (50, 2)),
        (replace(SITE, quotas=Quotas(parallel_training_jobs=3)), (50, 3)),
    ],
)
def test_limits_are_within_the_sites(site: Site, limits: tuple[int, int]) -> None:
    request = autotuned(("a", "0.5"), ("b", "0.5"), ("c", "0.5"))
    assert limits_of(chosen(request, site))[:2] == limits


@pytest.mark.parametrize(("jobs", "parallel"), [(4, 1), (19, 1), (25, 2), (250, 10), (1000, 10)])
def test_how_many_run_at_a_time_follows_from_how_many_there_are(jobs: int, parallel: int) -> None:
    request = autotuned(("a", "0.5"))
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    limits.max_number_of_training_jobs = jobs
    assert limits_of(chosen(request))[:2] == (jobs, parallel)


def test_a_grid_tunes_what_has_a_list_of_values() -> None:
    request = autotuned(("shuffle", "true"), ("depth", "4"))
    request.hyper_parameter_tuning_job_config.strategy = GRID
    filled = chosen(request)
    assert [each.name for each in ranges_of(filled).categorical_parameter_ranges] == ["shuffle"]
    assert filled.training_job_definition.static_hyper_parameters["depth"] == "4"
    spec = read_job_spec(filled, account=Account(), site=SITE, seed=1)
    assert (spec.max_training_jobs, spec.max_parallel) == (2, 1)


def test_early_stopping_is_off_where_it_is_not_allowed() -> None:
    request = autotuned(("x", "0.5"))
    config = request.hyper_parameter_tuning_job_config
    config.strategy = HYPERBAND
    filled = with_choices(request, site=SITE).hyper_parameter_tuning_job_config
    assert filled.training_job_early_stopping_type == STOPPING_OFF
    config.ClearField("strategy")
    config.strategy_config.hyperband_strategy_config.max_resource = 9
    filled = with_choices(request, site=SITE).hyper_parameter_tuning_job_config
    assert filled.strategy == HYPERBAND
    assert filled.training_job_early_stopping_type == STOPPING_OFF


def test_every_definition_is_filled_in() -> None:
    request = plural_request()
    request.autotune.mode = job_pb.AUTOTUNE_MODE_ENABLED
    request.hyper_parameter_tuning_job_config.ClearField("resource_limits")
    first, second = request.training_job_definitions
    second.ClearField("hyper_parameter_ranges")
    hint_at(second.hyper_parameter_ranges, ("rate", "0.01"), ("optimizer", "sgd"))
    first.retry_strategy.maximum_retry_attempts = 7
    filled = with_choices(request, site=SITE)
    config = filled.hyper_parameter_tuning_job_config
    assert config.strategy == RANDOM
    assert not config.HasField("parameter_ranges")
    assert config.training_job_early_stopping_type == STOPPING_OFF
    assert limits_of(filled)[:2] == (60, 6)
    first, second = filled.training_job_definitions
    assert (
        first.hyper_parameter_ranges == request.training_job_definitions[0].hyper_parameter_ranges
    )
    (rate,) = second.hyper_parameter_ranges.continuous_parameter_ranges
    assert (rate.name, rate.min_value, rate.max_value) == ("rate", "0.001", "0.1")
    assert second.static_hyper_parameters == {"batch-size": "32", "optimizer": "sgd"}
    assert first.retry_strategy.maximum_retry_attempts == 7
    assert second.retry_strategy.maximum_retry_attempts == 3


def test_callers_trials_are_tuned_over_hints_too() -> None:
    filled = chosen(of_callers(("rate", "0.01"), ("depth", "4")))
    assert not filled.HasField("training_job_definition")
    assert len(ranges_of(filled).continuous_parameter_ranges) == 1
    assert len(ranges_of(filled).integer_parameter_ranges) == 1


def test_callers_are_told_which_hint_is_not_tuned() -> None:
    (violation,) = refusal(of_callers(("rate", "0.01"), ("optimizer", "sgd")))
    assert violation.path == f"{AUTO_PARAMETERS}[1]"


@pytest.mark.parametrize(
    ("hints", "path", "rule"),
    [
        ([("lr", "0.1"), ("batch-size", "32")], "[1].Name", "tuned_are_not_static"),
        ([("lr", "0.1"), ("lr", "0.2")], "[1].Name", "ranges_have_different_names"),
        ([("lr", "0.1"), ("", "0.2")], "[1].Name", "hyperparameters_have_names"),
        ([("lr", "0.1"), ("a" * 257, "0.2")], "[1].Name", "string.max_len"),
        ([("data", "x" * 257)], "[0].ValueHint", "string.max_len"),
        ([("data", "a\0b")], "[0].ValueHint", "text_has_no_null_character"),
        ([("_tuning_objective_metric", "x")], "[0].Name", "reserved_names_are_free"),
        ([("sagemaker_program", "a.py"), ("lr", "0.1")], "[0].Name", "unserved"),
        ([(f"p{index}", "0.5") for index in range(101)], "", "repeated.max_items"),
    ],
)
def test_wrong_hints_are_named_as_they_were_given(
    hints: list[tuple[str, str]], path: str, rule: str
) -> None:
    told = refusal(autotuned(*hints))
    assert [(each.path, each.rule) for each in told] == [(f"{AUTO_PARAMETERS}{path}", rule)]


def test_too_many_hyperparameters_are_told_by_a_member_that_is_there() -> None:
    request = autotuned(*((f"p{index}", "0.5") for index in range(100)))
    assert [each.path for each in refusal(request)] == [
        "TrainingJobDefinition.StaticHyperParameters"
    ]
    request.training_job_definition.ClearField("static_hyper_parameters")
    assert [each.path for each in refusal(request)] == [AUTO_PARAMETERS]


def test_nothing_to_tune_is_refused() -> None:
    for hints in ((), (("optimizer", "sgd"),)):
        (violation,) = refusal(autotuned(*hints))
        assert violation.path == f"{CONFIG}.ParameterRanges"
        assert violation.rule == "autotune_finds_something_to_tune"


def test_more_training_jobs_than_configurations_are_refused_where_they_are_asked_for() -> None:
    request = autotuned(("shuffle", "true"))
    limits = request.hyper_parameter_tuning_job_config.resource_limits
    limits.max_number_of_training_jobs = 3
    (violation,) = refusal(request)
    assert violation.path == f"{CONFIG}.ResourceLimits.MaxNumberOfTrainingJobs"
    assert "combinations for the provided ranges [2.0]" in violation.message


def test_an_empty_request_is_told_only_what_cannot_be_chosen() -> None:
    request = CreateRequest()
    request.autotune.mode = job_pb.AUTOTUNE_MODE_ENABLED
    assert [each.path for each in refusal(request)] == [
        "HyperParameterTuningJobName",
        f"{CONFIG}.HyperParameterTuningJobObjective",
        f"{CONFIG}.ParameterRanges",
    ]


# --- specifications -----------------------------------------------------------------------

SPECIFICATION: dict[str, Parameter | None] = {
    "trees": Integer(name="trees", lo=10, hi=500, scaling=Scaling.LOGARITHMIC),
    "criterion": Categorical(name="criterion", values=("gini", "entropy")),
    "batch-size": Integer(name="batch-size", lo=1, hi=9),
    "threads": None,
}
REGISTERED = Site(
    algorithms={
        "forest": Algorithm(
            name="forest",
            command=("python", "forest.py"),
            metric_definitions=(MetricDefinition(name="loss", regex=r"loss=(\S+)"),),
            hyperparameters=SPECIFICATION,
        )
    }
)


def of_a_forest(*hints: tuple[str, str]) -> CreateRequest:
    request = autotuned(*hints)
    specification = request.training_job_definition.algorithm_specification
    specification.ClearField("container_entrypoint")
    specification.algorithm_name = "forest"
    return request


def test_without_ranges_all_tunable_ones_of_the_specification_are_tuned() -> None:
    filled = chosen(of_a_forest(), REGISTERED)
    assert read_space(ranges_of(filled), "").trusted_space.parameters == (
        SPECIFICATION["trees"],
        SPECIFICATION["criterion"],
    )
    # What is static already was given.
    assert filled.training_job_definition.static_hyper_parameters == {"batch-size": "32"}


def test_of_hints_those_are_tuned_that_the_specification_calls_tunable() -> None:
    request = of_a_forest(("trees", "100"), ("threads", "8"), ("unlisted", "0.5"))
    filled = chosen(request, REGISTERED)
    (trees,) = ranges_of(filled).integer_parameter_ranges
    assert (trees.min_value, trees.max_value) == ("10", "500")
    static = filled.training_job_definition.static_hyper_parameters
    assert static == {"batch-size": "32", "threads": "8", "unlisted": "0.5"}


def test_where_no_hint_is_tuned_the_specification_is() -> None:
    filled = chosen(of_a_forest(("threads", "8")), REGISTERED)
    assert len(ranges_of(filled).integer_parameter_ranges) == 1
    assert filled.training_job_definition.static_hyper_parameters["threads"] == "8"


def test_ranges_that_are_given_are_all_that_is_tuned() -> None:
    request = of_a_forest()
    ranges_of(request).continuous_parameter_ranges.add(name="x", min_value="0", max_value="1")
    filled = chosen(request, REGISTERED)
    assert not ranges_of(filled).integer_parameter_ranges


# --- properties ---------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["lr", "depth", "seed", "kind", "batch-size", "sagemaker_region", "_x", "trees", "threads", ""]
)
HINTS = st.one_of(
    st.sampled_from(["4", "0.5", "1e-3", "0", "true", "sgd", "", "\0", "0.99", "9" * 30]),
    st.floats().map(repr),
    st.integers().map(str),
)


@st.composite
def requests(draw: st.DrawFn) -> CreateRequest:
    """Leave out, or give, each member that Autotune chooses; sometimes wrong."""
    request = draw(st.sampled_from([autotuned, of_callers, of_a_forest]))()
    config = request.hyper_parameter_tuning_job_config
    config.strategy = draw(st.sampled_from([NO_STRATEGY, NO_STRATEGY, RANDOM, GRID, BAYESIAN]))
    early_stopping = draw(st.sampled_from(job_pb.TrainingJobEarlyStoppingType.values()))
    config.training_job_early_stopping_type = early_stopping
    limits = config.resource_limits
    limits.max_number_of_training_jobs = draw(st.sampled_from([0, 0, 1, 2, 40, 20_000, -1]))
    limits.max_parallel_training_jobs = draw(st.sampled_from([0, 0, 1, 3, 5_000]))
    limits.max_runtime_in_seconds = draw(st.sampled_from([0, 600, 5]))
    convergence = config.tuning_job_completion_criteria.convergence_detected
    completes = draw(st.sampled_from(job_pb.CompleteOnConvergence.values()))
    convergence.complete_on_convergence = completes
    if draw(st.booleans()):
        config.parameter_ranges.integer_parameter_ranges.add(
            name="depth", min_value="1", max_value=draw(st.sampled_from(["3", "0", "a"]))
        )
    if draw(st.booleans()):
        config.parameter_ranges.categorical_parameter_ranges.add(name="kind", values=["a", "b"])
    hint_at(config.parameter_ranges, *draw(st.lists(st.tuples(NAMES, HINTS), max_size=4)))
    if request.HasField("training_job_definition") and draw(st.booleans()):
        attempts = draw(st.sampled_from([0, 2, 31]))
        request.training_job_definition.retry_strategy.maximum_retry_attempts = attempts
    return request


def is_named_in(request: CreateRequest, path: str) -> bool:
    """Tell whether a request has the member at a path, as far as indices go."""
    message: object = request
    for step in path.split("."):
        name, _, index = step.partition("[")
        descriptor = getattr(message, "DESCRIPTOR", None)
        if descriptor is None:  # an entry of a map
            return True
        field = next(each for each in descriptor.fields if each.json_name == name)
        value = getattr(message, field.name)
        if not value and not field.message_type and "[" not in path:
            return False
        if index:
            value = value[int(index.rstrip("]"))]
        message = value
    return True


@settings(max_examples=300, deadline=None, derandomize=True)
@given(request=requests())
def test_what_is_chosen_is_right_or_what_was_given_is_wrong(request: CreateRequest) -> None:
    filled = with_choices(request, site=REGISTERED)
    assert with_choices(filled, site=REGISTERED) == filled
    try:
        validate_create(filled, site=REGISTERED)
    except InvalidRequest as refused:
        for violation in refused.violations:
            is_missing = violation.rule in ("required", "autotune_finds_something_to_tune")
            assert is_missing or is_named_in(request, violation.path), violation
        return
    assert not ranges_of(filled).auto_parameters
    spec = read_job_spec(filled, account=Account(), site=REGISTERED, seed=1)
    assert filled_request(spec, REGISTERED).autotune == request.autotune
    tuned = {parameter.name for parameter in spec.definition.space.parameters}
    static = set(filled.training_job_definition.static_hyper_parameters)
    asked = {auto.name for auto in ranges_of(request).auto_parameters}
    assert asked <= tuned | static  # nothing is lost
    assert not tuned & static


@settings(max_examples=200, deadline=None, derandomize=True)
@given(request=requests())
def test_a_member_that_is_given_is_never_changed(request: CreateRequest) -> None:
    filled = with_choices(request, site=REGISTERED)
    given_config = CreateRequest()
    given_config.CopyFrom(request)
    ranges_of(given_config).ClearField("auto_parameters")
    given_ranges, chosen_ranges = ranges_of(given_config), ranges_of(filled)
    for kind in ("integer", "continuous", "categorical"):
        before = list(getattr(given_ranges, f"{kind}_parameter_ranges"))
        assert list(getattr(chosen_ranges, f"{kind}_parameter_ranges"))[: len(before)] == before
    # Scalars of the request put on top of the choices change none of them.
    for each in (given_config, filled):
        each.hyper_parameter_tuning_job_config.ClearField("parameter_ranges")
    merged = CreateRequest()
    merged.CopyFrom(filled)
    given_config.ClearField("tags")  # merging would repeat what is in lists
    specification = given_config.training_job_definition.algorithm_specification
    if given_config.HasField("training_job_definition"):
        for repeated in ("container_entrypoint", "metric_definitions"):
            specification.ClearField(repeated)
    merged.MergeFrom(given_config)
    assert merged == filled
