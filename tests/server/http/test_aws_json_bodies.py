"""Bodies of AWS JSON: what is read, what is refused and in which words, what is answered."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import training_job_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.errors import InvalidRequest, MalformedRequest, Violation
from tunesmith_server.http.aws_json import answer, read_request

Listing = pb.ListHyperParameterTuningJobsRequest
Create = pb.CreateHyperParameterTuningJobRequest


def nothing_more(_request: Message) -> Iterable[Violation]:
    return ()


def read(text: str | bytes) -> Listing:
    body = text if isinstance(text, bytes) else text.encode()
    return read_request(body, Listing, rules=nothing_more)


def test_an_empty_body_is_a_request_without_members() -> None:
    assert read(b"") == read("{}") == Listing()


def test_null_is_as_if_the_member_were_not_there() -> None:
    assert read('{"NameContains": null}') == Listing()


def test_times_are_seconds_since_1970_with_or_without_a_fraction() -> None:
    for written in ("1700000000", "1700000000.0", "1.7e9"):
        request = read(f'{{"CreationTimeAfter": {written}}}')
        assert request.creation_time_after == Timestamp(seconds=1_700_000_000)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff{}", "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"{", "not the JSON of a request"),
        (b"[]", "The request is a list; expected an object"),
        (b'"x"', "expected an object"),
        (b"{} {}", "not the JSON of a request"),
        (b'{"MaxResults": 1, "MaxResults": 2}', "'MaxResults' comes twice"),
        (b'{"MaxResults": "1"}', "'MaxResults' is a string; expected a whole number"),
        (b'{"MaxResults": 1.5}', "expected a whole number"),
        (b'{"MaxResults": true}', "expected a whole number"),
        (b'{"MaxResults": NaN}', "NaN is no JSON"),
        (b'{"NameContains": 5}', "expected a string"),
        (b'{"NameContains": "\\ud800"}', "surrogate"),
        (b'{"SortBy": 1}', "expected a string"),
        (b'{"CreationTimeAfter": "yesterday"}', "expected a time"),
        (b'{"MaxResults": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"NameContains": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_request_by_its_form_is_no_message(body: bytes, said: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        read(body)
    assert said in str(refused.value)


def test_a_value_that_an_enum_has_not_is_refused_in_sagemakers_words() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read('{"SortBy": "Age"}')
    assert str(refused.value) == (
        "1 validation error detected: Value 'Age' at 'sortBy' failed to satisfy constraint: "
        "Member must satisfy enum value set: [Name, Status, CreationTime]"
    )


def test_a_misfit_deep_inside_is_named_by_sagemakers_path() -> None:
    body = {
        "HyperParameterTuningJobConfig": {
            "ParameterRanges": {
                "ContinuousParameterRanges": [
                    {"Name": "a", "MinValue": "0", "MaxValue": "1"},
                    {"Name": "b", "MinValue": "0", "MaxValue": "1", "ScalingType": "Cubic"},
                ]
            }
        }
    }
    with pytest.raises(InvalidRequest) as refused:
        read_request(json.dumps(body).encode(), Create, rules=nothing_more)
    assert (
        "at 'hyperParameterTuningJobConfig.parameterRanges.continuousParameterRanges.2.member."
        "scalingType'" in str(refused.value)
    )


def test_an_unknown_member_is_refused_with_the_one_that_is_near() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read('{"NameContain": "x"}')
    assert not isinstance(refused.value, MalformedRequest)
    assert "Unknown member 'NameContain'" in str(refused.value)
    assert "did you mean 'NameContains'?" in str(refused.value)


def test_what_the_rules_find_is_told_together_with_what_does_not_fit() -> None:
    def rules(request: Message) -> Iterable[Violation]:
        assert isinstance(request, Listing)
        assert request.max_results == 1000
        yield Violation(path="MaxResults", message="it is too many", rule="int32.lte")
        yield Violation(path="SortBy", message="this was found already", rule="enum")

    with pytest.raises(InvalidRequest) as refused:
        read_request(b'{"SortBy": "Age", "MaxResults": 1000}', Listing, rules=rules)
    assert [each.path for each in refused.value.violations] == ["SortBy", "MaxResults"]


def test_an_answer_is_compact_and_has_numbers_of_32_bits() -> None:
    metric = training_job_pb2.MetricData(metric_name="loss", value=0.1)
    described = training_pb.DescribeTrainingJobResponse(final_metric_data_list=[metric])
    shown = json.loads(answer(described))
    assert shown["FinalMetricDataList"] == [{"MetricName": "loss", "Value": 0.10000000149011612}]
    assert answer(pb.StopHyperParameterTuningJobResponse()) == b"{}"


def test_every_number_of_an_answer_is_a_number_to_clients() -> None:
    """boto3 hands ``"NaN"`` and ``"Infinity"`` on as text, and a table of them has no mean."""
    values = {"loss": 1e300, "worst": float("-inf"), "other": float("nan"), "rate": 0.5}
    metrics = [
        training_job_pb2.MetricData(metric_name=name, value=value) for name, value in values.items()
    ]
    described = training_pb.DescribeTrainingJobResponse(
        final_metric_data_list=metrics,
        model_artifacts=training_job_pb2.ModelArtifacts(s3_model_artifacts="file:///model"),
    )
    assert json.loads(answer(described))["FinalMetricDataList"] == [
        {"MetricName": "loss", "Value": 3.4028234663852886e38},
        {"MetricName": "worst", "Value": -3.4028234663852886e38},
        {"MetricName": "rate", "Value": 0.5},
    ]
    del described.final_metric_data_list[3], described.final_metric_data_list[:2]
    assert "FinalMetricDataList" not in json.loads(answer(described))
