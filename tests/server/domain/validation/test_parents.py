"""What a warm start asks of its parents: every documented rule, on requests that break one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.server.domain.create_requests import (
    MAXIMIZE,
    SITE,
    CreateRequest,
    create_request,
    plural_request,
)
from tunesmith.v1 import warm_start_pb2
from tunesmith.v1.tuning_job_pb2 import AUTOTUNE_MODE_ENABLED
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.job_spec import read_job_spec
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.domain.tuning_job import JobSpec
from tunesmith_server.domain.validation.parents import Candidate, check_parents

Kind = warm_start_pb2.HyperParameterTuningJobWarmStartType
IDENTICAL = Kind.HYPER_PARAMETER_TUNING_JOB_WARM_START_TYPE_IDENTICAL_DATA_AND_ALGORITHM
TRANSFER = Kind.HYPER_PARAMETER_TUNING_JOB_WARM_START_TYPE_TRANSFER_LEARNING


def spec_of(request: CreateRequest) -> JobSpec:
    return read_job_spec(request, account=Account(), site=SITE, seed=1, trusted=True)


def parent(
    change: Callable[[CreateRequest], object] = lambda _: None,
    *,
    status: TuningJobStatus = TuningJobStatus.COMPLETED,
    launched: int = 24,
) -> Candidate:
    request = create_request()
    request.hyper_parameter_tuning_job_name = "before"
    change(request)
    return Candidate(spec=spec_of(request), status=status, launched=launched)


def child(
    change: Callable[[CreateRequest], object] = lambda _: None, *, kind: Kind.ValueType = TRANSFER
) -> JobSpec:
    request = create_request()
    config = request.warm_start_config
    config.warm_start_type = kind
    config.parent_hyper_parameter_tuning_jobs.add(hyper_parameter_tuning_job_name="before")
    change(request)
    return spec_of(request)


def refused(spec: JobSpec, *parents: Candidate | None, most_jobs: int = 750) -> list[str]:
    """Give the rules that a warm start breaks."""
    try:
        check_parents(spec, parents, most_jobs=most_jobs)
    except InvalidRequest as error:
        return [violation.rule for violation in error.violations]
    return []


def message(spec: JobSpec, *parents: Candidate | None, most_jobs: int = 750) -> str:
    with pytest.raises(InvalidRequest) as refusal:
        check_parents(spec, parents, most_jobs=most_jobs)
    (violation,) = refusal.value.violations
    return f"{violation.path}: {violation.message}"


@pytest.mark.parametrize("kind", [IDENTICAL, TRANSFER])
def test_the_same_request_again_is_taken(kind: Kind.ValueType) -> None:
    assert refused(child(kind=kind), parent()) == []


@pytest.mark.parametrize("status", list(TuningJobStatus))
def test_a_parent_must_have_ended(status: TuningJobStatus) -> None:
    candidate = parent(status=status)
    if status.is_terminal:
        assert refused(child(), candidate) == []
    else:
        told = message(child(), candidate)
        name = "WarmStartConfig.ParentHyperParameterTuningJobs[0].HyperParameterTuningJobName"
        assert told.startswith(f"{name}: The tuning job before is {status}; ")


def test_a_parent_must_exist() -> None:
    assert "There is no tuning job called before" in message(child(), None)


def test_the_objective_is_the_parents() -> None:
    def other_metric(request: CreateRequest) -> None:
        objective = request.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective
        objective.metric_name = "accuracy"

    def other_type(request: CreateRequest) -> None:
        objective = request.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective
        objective.type = MAXIMIZE

    assert "MetricName is loss, and that of the parent before is accuracy" in message(
        child(), parent(other_metric)
    )
    assert "Type must be that of the parent before, Maximize" in message(
        child(), parent(other_type)
    )


def test_the_names_of_hyperparameters_are_the_parents() -> None:
    def one_more(request: CreateRequest) -> None:
        request.training_job_definition.static_hyper_parameters["more"] = "1"

    told = message(child(one_more), parent())
    assert "The set of tunable plus static HyperParameter names is not the same" in told
    assert told.endswith("Not in before: more.")
    assert message(child(), parent(one_more)).endswith("Only in before: more.")


def make_static(request: CreateRequest) -> None:
    ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
    del ranges.integer_parameter_ranges[:]
    request.training_job_definition.static_hyper_parameters["depth"] = "4"


def test_a_tuned_hyperparameter_may_become_static_and_a_static_one_tuned() -> None:
    assert refused(child(make_static), parent()) == []
    assert refused(child(), parent(make_static)) == []


def test_the_type_of_a_hyperparameter_stays() -> None:
    def real_depth(request: CreateRequest) -> None:
        ranges = request.hyper_parameter_tuning_job_config.parameter_ranges
        del ranges.integer_parameter_ranges[:]
        ranges.continuous_parameter_ranges.add(name="depth", min_value="2", max_value="9")

    def word_for_depth(request: CreateRequest) -> None:
        make_static(request)
        request.training_job_definition.static_hyper_parameters["depth"] = "deep"

    assert refused(child(real_depth), parent()) == ["types_are_the_parents"]
    assert refused(child(word_for_depth), parent()) == ["types_are_the_parents"]
    assert refused(child(), parent(word_for_depth)) == ["types_are_the_parents"]


@pytest.mark.parametrize(("changed", "rules"), [(10, []), (11, ["static_changes_are_few"])])
def test_at_most_ten_static_values_change(changed: int, rules: list[str]) -> None:
    def eleven(value: Callable[[int], str]) -> Callable[[CreateRequest], None]:
        def change(request: CreateRequest) -> None:
            static = request.training_job_definition.static_hyper_parameters
            for number in range(11):
                static[f"s{number}"] = value(number)

        return change

    ours = eleven(lambda number: "new" if number < changed else "old")
    assert refused(child(ours), parent(eleven(lambda _: "old"))) == rules


def test_only_some_members_of_the_definition_may_change() -> None:
    def other_environment(request: CreateRequest) -> None:
        request.training_job_definition.environment["MODE"] = "slow"

    told = message(child(other_environment), parent())
    assert (
        "Only the following fields in TrainingJobDefinition are allowed to change: "
        "[algorithmSpecification, inputDataConfig, outputDataConfig, staticHyperParameters, "
        "roleArn, resourceConfig, stoppingCondition, vpcConfig, enableManagedSpotTraining, "
        "checkpointConfig]. Changed against before: Environment."
    ) in told


@pytest.mark.parametrize(
    "change",
    [
        lambda r: setattr(
            r.training_job_definition, "role_arn", "arn:aws:iam::123456789012:role/b"
        ),
        lambda r: setattr(
            r.training_job_definition.output_data_config, "s3_output_path", "file:///elsewhere"
        ),
        lambda r: setattr(
            r.training_job_definition.stopping_condition, "max_runtime_in_seconds", 60
        ),
        lambda r: setattr(r.training_job_definition.resource_config, "instance_type", "local"),
        lambda r: setattr(
            r.hyper_parameter_tuning_job_config.resource_limits, "max_number_of_training_jobs", 5
        ),
        lambda r: setattr(
            r.hyper_parameter_tuning_job_config.parameter_ranges.integer_parameter_ranges[0],
            "max_value",
            "5",
        ),
    ],
)
@pytest.mark.parametrize("kind", [IDENTICAL, TRANSFER])
def test_what_may_change_may_change(
    change: Callable[[CreateRequest], None], kind: Kind.ValueType
) -> None:
    assert refused(child(change, kind=kind), parent()) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (
            lambda r: r.training_job_definition.input_data_config.add(channel_name="train"),
            "data_are_the_parents",
        ),
        (
            lambda r: r.training_job_definition.algorithm_specification.container_arguments.append(
                "--fast"
            ),
            "algorithm_is_the_parents",
        ),
    ],
)
def test_identical_data_and_algorithm_are_identical(
    change: Callable[[CreateRequest], None], rule: str
) -> None:
    assert refused(child(change, kind=IDENTICAL), parent()) == [rule]
    assert refused(child(change, kind=TRANSFER), parent()) == []


def test_an_image_may_have_another_version() -> None:
    def image(name: str) -> Callable[[CreateRequest], None]:
        def change(request: CreateRequest) -> None:
            specification = request.training_job_definition.algorithm_specification
            specification.training_image = name

        return change

    for before, after, same in (
        ("host:5000/forest:1", "host:5000/forest:2", True),
        ("host:5000/forest", "host:5000/forest@sha256:ab", True),
        ("host:5000/forest", "host:6000/forest", False),
        ("forest:1", "tree:1", False),
    ):
        found = refused(child(image(after), kind=IDENTICAL), parent(image(before)))
        assert (found == []) == same, (before, after)


def test_training_jobs_of_parents_count_against_the_limit() -> None:
    assert refused(child(), parent(launched=26), most_jobs=50) == []
    told = message(child(), parent(launched=27), most_jobs=50)
    assert "at most 50 in all: give at most 23, or fewer parents" in told


def test_trials_that_callers_run_need_no_definition_to_be_alike() -> None:
    def by_caller(request: CreateRequest) -> None:
        request.ClearField("training_job_definition")

    assert refused(child(by_caller, kind=IDENTICAL), parent(by_caller)) == []
    # The static hyperparameter of the other is missing here.
    assert refused(child(by_caller), parent()) == ["hyperparameters_are_the_parents"]


@pytest.mark.parametrize("who", ["child", "parent"])
def test_retries_that_autotune_chose_may_differ(who: str) -> None:
    def chosen(request: CreateRequest) -> None:
        request.autotune.mode = AUTOTUNE_MODE_ENABLED
        request.training_job_definition.retry_strategy.maximum_retry_attempts = 3

    def written(request: CreateRequest) -> None:
        request.training_job_definition.retry_strategy.maximum_retry_attempts = 3

    if who == "child":
        assert refused(child(chosen), parent()) == []
    else:
        assert refused(child(), parent(chosen)) == []
    assert refused(child(written), parent()) == ["definition_is_the_parents"]


def test_a_static_value_of_another_type_is_named_where_it_stands() -> None:
    def word_for_depth(request: CreateRequest) -> None:
        make_static(request)
        request.training_job_definition.static_hyper_parameters["depth"] = "deep"

    assert message(child(word_for_depth), parent()) == (
        "TrainingJobDefinition.StaticHyperParameters.depth: Hyperparameter 'depth' is 'deep', and "
        "was integer in before; its type must not change"
    )


def test_a_parent_in_the_plural_form_is_refused_even_with_one_definition() -> None:
    request = plural_request()
    del request.training_job_definitions[1:]
    one = Candidate(spec=spec_of(request), status=TuningJobStatus.COMPLETED, launched=1)
    assert "has TrainingJobDefinitions" in message(child(), one)
