"""The codec between messages and SageMaker's JSON."""

import json
import math
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BytesValue
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith import InvalidRequest
from tunesmith.aws_json import from_aws, read_aws, to_aws
from tunesmith.v1 import (
    event_pb2,
    training_job_operations_pb2,
    training_job_pb2,
    tuning_job_pb2,
    tuning_service_pb2,
)

Create = tuning_service_pb2.CreateHyperParameterTuningJobRequest
Describe = tuning_service_pb2.DescribeHyperParameterTuningJobResponse

REQUEST: dict[str, Any] = {
    "HyperParameterTuningJobName": "digits",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Random",
        "RandomSeed": 0,
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 24, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": {
            "IntegerParameterRanges": [],
            "ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.1", "MaxValue": "2"}],
            "CategoricalParameterRanges": [{"Name": "act", "Values": ["relu", "tanh"]}],
        },
        "TuningJobCompletionCriteria": {"TargetObjectiveMetricValue": 0.1},
    },
    "TrainingJobDefinition": {
        "StaticHyperParameters": {"epochs": "12", "größe": ""},
        "EnableNetworkIsolation": False,
    },
    "Tags": [{"Key": "a", "Value": ""}],
}


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    kinds: dict[int, st.SearchStrategy[Any]] = {
        FieldDescriptor.TYPE_STRING: st.text(max_size=5),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    }
    return kinds[field.type]


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    nested = field.message_type
    if nested is None:
        return scalars(field)
    if nested.full_name == "google.protobuf.Timestamp":
        millis = st.integers(-62_135_596_800_000, 253_402_300_799_999)
        return millis.map(lambda ms: Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000))
    return messages(nested, depth - 1)


@st.composite
def messages(draw: st.DrawFn, descriptor: Any, depth: int = 4) -> Message:
    """Draw a message of any type, some of its members set."""
    message: Message = GetMessageClass(descriptor)()
    choices = {field.name: oneof.name for oneof in descriptor.oneofs for field in oneof.fields}
    for field in descriptor.fields:
        if draw(st.integers(0, 2)) or (field.message_type is not None and depth == 0):
            continue
        if field.name in choices and message.WhichOneof(choices[field.name]):
            continue
        set_member(draw, message, field, depth)
    return message


def set_member(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        keys, items = (values(nested.fields_by_name[name], depth) for name in ("key", "value"))
        getattr(message, field.name).update(draw(st.dictionaries(keys, items, max_size=2)))
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(values(field, depth), max_size=2)))
    elif nested is not None:
        getattr(message, field.name).CopyFrom(draw(values(field, depth)))
    else:
        setattr(message, field.name, draw(values(field, depth)))


def violations(data: object, message_type: type[Message] = Create) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as refused:
        from_aws(data, message_type)
    assert refused.value.reason == "ValidationException"
    return {violation.path: violation.message for violation in refused.value.violations}


@settings(max_examples=60, deadline=None)
@given(messages(Create.DESCRIPTOR))
def test_every_request_survives_the_way_to_json_text_and_back(message: Message) -> None:
    text = json.dumps(to_aws(message), allow_nan=False)
    assert from_aws(json.loads(text), Create) == message


@pytest.mark.parametrize(
    "message_type",
    [
        Describe,
        training_job_operations_pb2.DescribeTrainingJobResponse,
        tuning_service_pb2.ListHyperParameterTuningJobsResponse,
        event_pb2.WatchHyperParameterTuningJobResponse,
    ],
)
def test_every_answer_reads_back_to_the_same_json(message_type: type[Message]) -> None:
    @settings(max_examples=25, deadline=None)
    @given(messages(message_type.DESCRIPTOR))
    def check(message: Message) -> None:
        wire = to_aws(message)
        assert to_aws(from_aws(wire, message_type)) == wire

    check()


def test_a_request_comes_back_as_it_was_written() -> None:
    assert to_aws(from_aws(REQUEST, Create)) == REQUEST


def test_null_means_absent() -> None:
    assert from_aws({"Tags": None, "HyperParameterTuningJobName": None}, Create) == Create()


def test_describe_always_shows_all_three_lists_of_ranges() -> None:
    described = Describe()
    described.hyper_parameter_tuning_job_config.parameter_ranges.SetInParent()
    shown = to_aws(described)["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert shown == {
        "IntegerParameterRanges": [],
        "ContinuousParameterRanges": [],
        "CategoricalParameterRanges": [],
    }


def test_counters_always_show_every_key_even_when_the_message_is_empty() -> None:
    shown = to_aws(Describe())
    assert shown["TrainingJobStatusCounters"] == {
        "Completed": 0,
        "InProgress": 0,
        "RetryableError": 0,
        "NonRetryableError": 0,
        "Stopped": 0,
    }
    assert shown["ObjectiveStatusCounters"] == {"Succeeded": 0, "Pending": 0, "Failed": 0}


def test_a_running_training_job_shows_an_empty_model_artifact() -> None:
    shown = to_aws(training_job_operations_pb2.DescribeTrainingJobResponse())
    assert shown["ModelArtifacts"] == {"S3ModelArtifacts": ""}


def test_an_empty_list_answer_shows_its_empty_list() -> None:
    shown = to_aws(tuning_service_pb2.ListHyperParameterTuningJobsResponse())
    assert shown == {"HyperParameterTuningJobSummaries": []}


def test_a_metric_of_zero_is_shown() -> None:
    assert to_aws(event_pb2.MetricEmitted(metric_name="loss", step=3))["Value"] == 0.0


def test_enum_values_have_sagemakers_spelling_both_ways() -> None:
    summary = training_job_pb2.TrainingJobSummary(
        training_job_status=training_job_pb2.TRAINING_JOB_STATUS_IN_PROGRESS,
        secondary_status=training_job_pb2.SECONDARY_STATUS_MAX_RUNTIME_EXCEEDED,
    )
    wire = to_aws(summary)
    assert wire == {"TrainingJobStatus": "InProgress", "SecondaryStatus": "MaxRuntimeExceeded"}
    assert from_aws(wire, training_job_pb2.TrainingJobSummary) == summary


def test_an_enum_value_of_a_newer_server_is_shown_by_its_number() -> None:
    newer = training_job_pb2.TrainingJobSummary.FromString(b"\x30\x63")
    assert to_aws(newer) == {"TrainingJobStatus": "99"}


def test_times_are_epoch_seconds_to_the_millisecond() -> None:
    described = Describe(creation_time=Timestamp(seconds=1_700_000_000, nanos=123_456_789))
    assert to_aws(described)["CreationTime"] == 1_700_000_000.123


@pytest.mark.parametrize(
    "written", [1_700_000_000.5, "2023-11-14T22:13:20.5Z", "2023-11-14T23:13:20.500+01:00"]
)
def test_times_are_read_as_numbers_and_as_iso_8601(written: object) -> None:
    described = from_aws({"CreationTime": written}, Describe)
    assert described.creation_time == Timestamp(seconds=1_700_000_000, nanos=500_000_000)


@pytest.mark.parametrize(
    "written", ["yesterday", "2023-11-14T22:13:20", True, [], 1e300, -1e12, math.nan, math.inf]
)
def test_what_is_no_time_is_refused_with_an_example(written: object) -> None:
    assert "2026-11-24T09:30:00Z" in violations({"CreationTime": written}, Describe)["CreationTime"]


@pytest.mark.parametrize(
    ("value", "written"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_numbers_that_json_lacks_are_smithys_strings(value: float, written: str) -> None:
    wire = to_aws(training_job_pb2.MetricData(value=value))
    assert wire == {"Value": written}
    assert str(from_aws(wire, training_job_pb2.MetricData).value) == str(value)


def test_single_precision_shows_what_sagemaker_shows() -> None:
    metric = training_job_pb2.MetricData(value=0.7124711275100708 + 1e-10)
    assert to_aws(metric, single_precision=True) == {"Value": 0.7124711275100708}
    assert to_aws(metric) == {"Value": metric.value}


@pytest.mark.parametrize("value", [1e300, 3.41e38, math.inf])
def test_single_precision_has_finite_numbers_only(value: float) -> None:
    largest = (2 - 2**-23) * 2.0**127
    for sign in (1, -1):
        metric = training_job_pb2.MetricData(value=sign * value)
        assert to_aws(metric, single_precision=True) == {"Value": sign * largest}


def test_single_precision_leaves_out_what_is_no_number() -> None:
    emitted = event_pb2.MetricEmitted(value=math.nan, step=3)
    # Not its type's zero, which it shows where it is unset.
    assert to_aws(emitted, single_precision=True) == {"Step": 3}
    assert to_aws(event_pb2.MetricEmitted(), single_precision=True)["Value"] == 0


def test_whole_numbers_of_64_bits_are_json_numbers() -> None:
    seed = {"TrainingJobDefinition": {"InputDataConfig": [{"ShuffleConfig": {"Seed": 2**62 + 1}}]}}
    assert to_aws(from_aws(seed, Create)) == seed


def test_all_misfits_are_reported_at_once_by_the_path_as_written() -> None:
    found = violations(
        {
            "HyperParameterTuningJobName": 3,
            "HyperParameterTuningJobConfig": {
                "Strategi": "Random",
                "Strategy": "Rnd",
                "RandomSeed": True,
                "ResourceLimits": {"MaxParallelTrainingJobs": 2.0},
                "ParameterRanges": {"IntegerParameterRanges": [{}, {"MinValue": 1}]},
            },
            "TrainingJobDefinition": {"StaticHyperParameters": {"a": 1, "b c": None}},
            "Tags": {},
        }
    )
    config = "HyperParameterTuningJobConfig"
    assert list(found) == [
        "HyperParameterTuningJobName",
        f"{config}.Strategi",
        f"{config}.Strategy",
        f"{config}.RandomSeed",
        f"{config}.ResourceLimits.MaxParallelTrainingJobs",
        f"{config}.ParameterRanges.IntegerParameterRanges[1].MinValue",
        "TrainingJobDefinition.StaticHyperParameters.a",
        "TrainingJobDefinition.StaticHyperParameters['b c']",
        "Tags",
    ]
    assert 'write "3", in quotes' in found["HyperParameterTuningJobName"]
    assert "expected a list" in found["Tags"]


def test_an_unknown_enum_value_is_refused_in_sagemakers_words() -> None:
    found = violations({"HyperParameterTuningJobConfig": {"Strategy": "Rnd"}})
    assert found["HyperParameterTuningJobConfig.Strategy"] == (
        "Value 'Rnd' at 'HyperParameterTuningJobConfig.Strategy' failed to satisfy constraint: "
        "Member must satisfy enum value set: [Bayesian, Random, Hyperband, Grid]"
    )


@pytest.mark.parametrize(
    "written", ["hyperparametertuningjobname", "hyper_parameter_tuning_job_name"]
)
def test_an_unknown_member_is_refused_with_the_nearest_known_name(written: str) -> None:
    assert "did you mean 'HyperParameterTuningJobName'?" in violations({written: "a"})[written]


def test_a_member_of_an_empty_message_is_refused_as_unknown() -> None:
    found = violations({"X": 1}, tuning_service_pb2.DeleteTagsResponse)
    assert "no member at all" in found["X"]


def test_unknown_members_can_be_ignored_as_aws_does() -> None:
    data = {"New": {"Deep": 1}, "HyperParameterTuningJobName": "a"}
    message = from_aws(data, Create, unknown="ignore")
    assert message == Create(hyper_parameter_tuning_job_name="a")


@pytest.mark.parametrize(
    ("member", "constraint"),
    [
        ({"MaxResults": 0}, "have value greater than or equal to 1"),
        ({"NameContains": ""}, "satisfy regular expression pattern: [a-zA-Z0-9\\-]+"),
    ],
)
def test_a_written_zero_is_not_taken_for_absence(
    member: dict[str, object], constraint: str
) -> None:
    found = violations(member, tuning_service_pb2.ListHyperParameterTuningJobsRequest)
    assert all(message.endswith(f"Member must {constraint}") for message in found.values())


def test_a_written_empty_list_that_must_have_items_is_refused() -> None:
    found = violations({"TrainingJobDefinitions": []})
    assert "length greater than or equal to 1" in found["TrainingJobDefinitions"]


@pytest.mark.parametrize(("number", "bound"), [(2**31, 2**31 - 1), (-(2**31) - 1, -(2**31))])
def test_numbers_beyond_the_wire_are_refused_with_the_bound(number: int, bound: int) -> None:
    found = violations({"HyperParameterTuningJobConfig": {"RandomSeed": number}})
    assert str(bound) in found["HyperParameterTuningJobConfig.RandomSeed"]


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_of_thousands_of_digits_are_refused(digits: int) -> None:
    number = 10**digits
    assert violations({"Value": number}, training_job_pb2.MetricData)
    assert violations({"HyperParameterTuningJobConfig": {"RandomSeed": number}})


@pytest.mark.parametrize("root", [[], "x", 3, None, True])
def test_a_root_that_is_no_object_is_refused(root: object) -> None:
    assert "expected an object" in violations(root)[""]


def test_half_a_surrogate_pair_is_refused_and_not_repeated() -> None:
    found = violations({"HyperParameterTuningJobName": "\ud800", "\udfff": 1})
    assert "no valid Unicode" in found["HyperParameterTuningJobName"]
    assert "".join([*found, *found.values()]).encode()


def test_long_values_are_cut_and_many_violations_counted() -> None:
    wrong = {"Tags": [{"Key": ["x" * 10_000]}] * 5000, "N" * 10_000: 1}
    with pytest.raises(
        InvalidRequest, match=r"^5001 validation errors.*4901 more violations"
    ) as it:
        from_aws(wrong, Create)
    assert (len(it.value.violations), it.value.left_out) == (100, 4901)
    assert all(len(violation.message) < 500 for violation in it.value.violations)


def test_what_fits_can_be_had_beside_what_does_not() -> None:
    ranges = {"CategoricalParameterRanges": [{"Name": "kind", "Values": [1, "b"]}]}
    wrong = {
        "HyperParameterTuningJobName": "a",
        "Tag": 1,
        "HyperParameterTuningJobConfig": {"Strategy": "Random", "ParameterRanges": ranges},
    }
    reading = read_aws(wrong, Create)
    values = "HyperParameterTuningJobConfig.ParameterRanges.CategoricalParameterRanges[0].Values"
    assert {violation.path for violation in reading.violations} == {"Tag", f"{values}[0]"}
    assert reading.message.hyper_parameter_tuning_job_name == "a"
    config = reading.message.hyper_parameter_tuning_job_config
    # An item keeps its index, whatever comes before it.
    assert config.parameter_ranges.categorical_parameter_ranges[0].values == ["", "b"]


def test_two_members_of_one_choice_are_refused() -> None:
    found = violations({"TuningJob": {}, "Log": {}}, event_pb2.WatchHyperParameterTuningJobResponse)
    assert "give only one" in found["TuningJob"]


def test_a_type_with_bytes_has_no_json_form_and_says_so() -> None:
    with pytest.raises(TypeError, match=r"BytesValue\.value holds bytes"):
        to_aws(BytesValue(value=b"x"))


def test_counters_read_back_as_present() -> None:
    counters = from_aws({"Completed": 0}, tuning_job_pb2.TrainingJobStatusCounters)
    assert counters.HasField("completed")
