from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

import tunesmith.v1
from buf.validate import validate_pb2
from tests.server.domain.create_requests import CreateRequest, add_channel, create_request
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import InvalidRequest, Violation
from tunesmith_server.domain.validation import check_constraints, check_request
from tunesmith_server.domain.validation.wording import excerpt, requirement


def only(message: Message) -> Violation:
    (violation,) = check_constraints(message)
    return violation


PATTERN = "Member must satisfy regular expression pattern:"
RANGES_AT = "hyperParameterTuningJobConfig.parameterRanges"
CRITERIA_AT = "hyperParameterTuningJobConfig.tuningJobCompletionCriteria"


def limits(request: CreateRequest) -> job_pb.ResourceLimits:
    return request.hyper_parameter_tuning_job_config.resource_limits


def ranges(request: CreateRequest) -> space_pb.ParameterRanges:
    return request.hyper_parameter_tuning_job_config.parameter_ranges


def criteria(request: CreateRequest) -> job_pb.TuningJobCompletionCriteria:
    return request.hyper_parameter_tuning_job_config.tuning_job_completion_criteria


def set_name(request: CreateRequest, name: str) -> None:
    request.hyper_parameter_tuning_job_name = name


def set_environment(request: CreateRequest, key: str, value: str) -> None:
    request.training_job_definition.environment[key] = value


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One broken constraint: how it is broken, and what is said."""

    edit: Callable[[CreateRequest], object]
    path: str
    at: str
    shown: str
    words: str


LIMITS = "HyperParameterTuningJobConfig.ResourceLimits"
LIMITS_AT = "hyperParameterTuningJobConfig.resourceLimits"

CASES = {
    "too long": Case(
        edit=lambda r: setattr(
            r.hyper_parameter_tuning_job_config.hyper_parameter_tuning_job_objective,
            "metric_name",
            "a" * 256,
        ),
        path="HyperParameterTuningJobConfig.HyperParameterTuningJobObjective.MetricName",
        at="hyperParameterTuningJobConfig.hyperParameterTuningJobObjective.metricName",
        shown=f"'{'a' * 60}… (256 characters)'",
        words="Member must have length less than or equal to 255",
    ),
    "pattern": Case(
        edit=lambda r: set_name(r, "a_b"),
        path="HyperParameterTuningJobName",
        at="hyperParameterTuningJobName",
        shown="'a_b'",
        words=f"{PATTERN} [a-zA-Z0-9](-*[a-zA-Z0-9]){{0,31}}",
    ),
    "missing": Case(
        edit=lambda r: limits(r).ClearField("max_parallel_training_jobs"),
        path=f"{LIMITS}.MaxParallelTrainingJobs",
        at=f"{LIMITS_AT}.maxParallelTrainingJobs",
        shown="null",
        words="Member must not be null",
    ),
    "enum": Case(
        edit=lambda r: setattr(r.hyper_parameter_tuning_job_config, "strategy", 77),
        path="HyperParameterTuningJobConfig.Strategy",
        at="hyperParameterTuningJobConfig.strategy",
        shown="'77'",
        words="Member must satisfy enum value set: [Bayesian, Random, Hyperband, Grid]",
    ),
    "too small": Case(
        edit=lambda r: setattr(limits(r), "max_number_of_training_jobs", -1),
        path=f"{LIMITS}.MaxNumberOfTrainingJobs",
        at=f"{LIMITS_AT}.maxNumberOfTrainingJobs",
        shown="'-1'",
        words="Member must have value greater than or equal to 1",
    ),
    "below a range": Case(
        edit=lambda r: setattr(limits(r), "max_runtime_in_seconds", 119),
        path=f"{LIMITS}.MaxRuntimeInSeconds",
        at=f"{LIMITS_AT}.maxRuntimeInSeconds",
        shown="'119'",
        words="Member must have value greater than or equal to 120",
    ),
    "above a range": Case(
        edit=lambda r: setattr(limits(r), "max_runtime_in_seconds", 10**9),
        path=f"{LIMITS}.MaxRuntimeInSeconds",
        at=f"{LIMITS_AT}.maxRuntimeInSeconds",
        shown="'1000000000'",
        words="Member must have value less than or equal to 15768000",
    ),
    "too many": Case(
        edit=lambda r: [r.tags.add(key=f"k{n}", value="") for n in range(50)],
        path="Tags",
        at="tags",
        shown="'[51 items]'",
        words="Member must have length less than or equal to 50",
    ),
    "member of a list": Case(
        edit=lambda r: r.tags.add(key="{", value=""),
        path="Tags[1].Key",
        at="tags.2.member.key",
        shown="'{'",
        words=PATTERN + r" ([\p{L}\p{Z}\p{N}_.:/=+\-@]*)",
    ),
    "none of a list": Case(
        edit=lambda r: ranges(r).categorical_parameter_ranges[0].ClearField("values"),
        path="HyperParameterTuningJobConfig.ParameterRanges.CategoricalParameterRanges[0].Values",
        at=f"{RANGES_AT}.categoricalParameterRanges.1.member.values",
        shown="null",
        words="Member must not be null",
    ),
    "key of a map": Case(
        edit=lambda r: set_environment(r, "1a", "x"),
        path="TrainingJobDefinition.Environment['1a']",
        at="trainingJobDefinition.environment.1a.member",
        shown="'1a'",
        words=f"Map keys must satisfy constraint: [{PATTERN} [a-zA-Z_][a-zA-Z0-9_]*]",
    ),
    "value of a map": Case(
        edit=lambda r: set_environment(r, "A", "x" * 513),
        path="TrainingJobDefinition.Environment.A",
        at="trainingJobDefinition.environment.A.member",
        shown=f"'{'x' * 60}… (513 characters)'",
        words="Member must have length less than or equal to 512",
    ),
    "not finite": Case(
        edit=lambda r: setattr(criteria(r), "target_objective_metric_value", float("nan")),
        path="HyperParameterTuningJobConfig.TuningJobCompletionCriteria.TargetObjectiveMetricValue",
        at=f"{CRITERIA_AT}.targetObjectiveMetricValue",
        shown="'nan'",
        words="Member must be a finite number",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_broken_constraint_is_told_in_sagemakers_words(case: Case) -> None:
    request = create_request()
    case.edit(request)
    violation = only(request)
    assert violation.path == case.path
    assert violation.message == (
        f"Value {case.shown} at '{case.at}' failed to satisfy constraint: {case.words}"
    )
    assert violation.is_constraint
    assert not violation.unimplemented


def test_the_sample_breaks_no_constraint() -> None:
    assert check_constraints(create_request()) == ()


def test_a_single_broken_constraint_reads_as_sagemakers_answer_does() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_request(pb.StopHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name="_"))
    assert str(refusal.value) == (
        "1 validation error detected: Value '_' at 'hyperParameterTuningJobName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: "
        "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}"
    )


def test_several_broken_constraints_are_all_told() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_request(pb.ListTagsRequest(resource_arn="x", max_results=1))
    assert str(refusal.value).startswith("2 validation errors detected: Value 'x' at 'resourceArn'")
    assert [violation.path for violation in refusal.value.violations] == [
        "ResourceArn",
        "MaxResults",
    ]


def test_a_time_that_no_clock_shows_is_refused() -> None:
    request = pb.ListHyperParameterTuningJobsRequest()
    request.creation_time_after.seconds = 10**15
    assert only(request).path == "CreationTimeAfter"
    request.creation_time_after.seconds = 253_402_300_799
    assert check_constraints(request) == ()
    request.creation_time_after.nanos = -1
    assert only(request).rule == "timestamp.valid"


def test_a_message_does_not_grow_with_the_value_it_is_about() -> None:
    request = pb.StopHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name="x" * 10_000)
    with pytest.raises(InvalidRequest) as refusal:
        check_request(request)
    assert str(refusal.value) == (
        f"1 validation error detected: Value '{'x' * 60}… (10000 characters)' at "
        "'hyperParameterTuningJobName' failed to satisfy constraint: Member must have length less "
        "than or equal to 32"
    )


def test_a_text_of_a_wrong_length_is_refused_for_that_alone() -> None:
    request = create_request()
    set_environment(request, "1" * 600, "x" * 600)
    assert sorted(violation.rule for violation in check_constraints(request)) == [
        "string.max_len",
        "string.max_len",
    ]
    request = create_request()
    set_environment(request, "1a", "x" * 600)
    assert sorted(violation.rule for violation in check_constraints(request)) == [
        "string.max_len",
        "string.pattern",
    ]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("/tmp/out", "; write file:///tmp/out"),  # noqa: S108 - never opened
        ("/tmp/50% of #1?", "; write file:///tmp/50%25 of %231%3F"),  # noqa: S108 - never opened
        ("./out", "; write file:// and the absolute path, such as file:///tmp/out"),
        ("out", "; write file:// and the absolute path, such as file:///tmp/out"),
        ("ftp://host/out", ""),
    ],
)
def test_a_plain_path_is_told_with_the_uri_to_write(given: str, advice: str) -> None:
    request = create_request()
    add_channel(request).data_source.s3_data_source.s3_uri = given
    request.training_job_definition.output_data_config.s3_output_path = given
    pattern = r"(https|s3)://([^/]+)/?(.*)|file://(localhost)?/.*"
    for violation in check_constraints(request):
        assert violation.message.endswith(f"{PATTERN} {pattern}{advice}")
    assert sorted(violation.path for violation in check_constraints(request)) == [
        "TrainingJobDefinition.InputDataConfig[0].DataSource.S3DataSource.S3Uri",
        "TrainingJobDefinition.OutputDataConfig.S3OutputPath",
    ]


def test_a_plain_path_that_is_long_is_cut_in_the_advice_too() -> None:
    request = create_request()
    request.training_job_definition.output_data_config.s3_output_path = "/a" * 400
    assert len(only(request).message) < 400


def test_a_pattern_without_files_comes_without_advice_about_them() -> None:
    request = create_request()
    set_name(request, "/tmp/out")  # noqa: S108 - never opened
    assert "file://" not in only(request).message


def test_members_that_the_contract_does_not_have_are_refused_where_they_are() -> None:
    request = create_request()
    unknown = b"\xaa\x06\x03abc"  # member 101
    request.tags[0].MergeFromString(unknown)
    request.training_job_definition.MergeFromString(unknown)
    request.MergeFromString(unknown)
    with pytest.raises(InvalidRequest) as refusal:
        check_request(request)
    assert [violation.path for violation in refusal.value.violations] == [
        "",
        "TrainingJobDefinition",
        "Tags[0]",
    ]
    assert "under the numbers 101;" in refusal.value.violations[0].message


def test_a_tag_key_cannot_be_added_twice() -> None:
    arn = "arn:aws:sagemaker:local:000000000000:training-job/a"
    request = pb.AddTagsRequest(resource_arn=arn)
    for key in ("a", "b", "a"):
        request.tags.add(key=key, value="")
    with pytest.raises(InvalidRequest) as refusal:
        check_request(request)
    assert refusal.value.violations[0].path == "Tags[2].Key"
    assert refusal.value.violations[0].rule == "tag_keys_are_different"
    assert str(refusal.value) == ("Tags[2].Key: The tag key 'a' is given twice; give each key once")
    del request.tags[2]
    check_request(request)


def test_a_tag_key_of_awss_own_cannot_be_added() -> None:
    arn = "arn:aws:sagemaker:local:000000000000:training-job/a"
    request = pb.AddTagsRequest(resource_arn=arn)
    for key in ("AWS:a", "laws:a", "aws-a"):
        request.tags.add(key=key, value="")
    with pytest.raises(InvalidRequest) as refusal:
        check_request(request)
    assert [(each.path, each.rule) for each in refusal.value.violations] == [
        ("Tags[0].Key", "tag_keys_are_free")
    ]
    del request.tags[0]
    check_request(request)


@pytest.mark.parametrize(("value", "shown"), [(True, "true"), (False, "false"), (1, "1")])
def test_a_boolean_is_shown_as_json_has_it(value: object, shown: str) -> None:
    assert excerpt(value) == shown


def messages() -> Iterator[Descriptor]:
    for module in pkgutil.iter_modules(tunesmith.v1.__path__, "tunesmith.v1."):
        if module.name.endswith("_pb2"):
            yield from importlib.import_module(
                module.name
            ).DESCRIPTOR.message_types_by_name.values()


@pytest.mark.parametrize("descriptor", list(messages()), ids=lambda each: each.name)
def test_an_empty_message_of_any_type_can_be_checked(descriptor: Descriptor) -> None:
    message = message_factory.GetMessageClass(descriptor)()
    for violation in check_constraints(message):
        assert "constraint: Member must" in violation.message


def used_rules(rules: Message, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Message]]:
    """Give the id of every rule that annotates a member, with the rules it belongs to."""
    for field, value in rules.ListFields():
        if field.name == "ignore":
            continue
        if field.message_type is not None and isinstance(value, Message):
            yield from used_rules(value, (*path, field.name))
        else:
            yield ".".join((*path[-1:], field.name)), rules


def test_every_rule_that_the_contract_uses_has_words() -> None:
    wordless = set()
    for descriptor in messages():
        for field in descriptor.fields:
            rules = field.GetOptions().Extensions[validate_pb2.field]
            for rule_id, inner in used_rules(rules):
                if requirement(rule_id, field, inner, 0) is None:
                    wordless.add(rule_id)
    assert wordless == set()
