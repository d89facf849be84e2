from __future__ import annotations

import pytest

from tests.server.domain.create_requests import create_request
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.validation.members import (
    Key,
    MemberPath,
    cut_to_limits,
    is_bounded,
    overlong,
    walk,
)


@pytest.mark.parametrize(
    ("path", "json", "sagemaker", "template"),
    [
        (MemberPath(("Tags", 2, "Key")), "Tags[2].Key", "tags.3.member.key", "Tags[].Key"),
        (MemberPath(("A", Key("FOO"))), "A.FOO", "a.FOO.member", "A[]"),
        (MemberPath(("A", Key("a b"))), "A['a b']", "a.a b.member", "A[]"),
        (MemberPath(("A", Key(""))), "A['']", "a..member", "A[]"),
        (MemberPath(("S3Uri",)), "S3Uri", "s3Uri", "S3Uri"),
        (MemberPath(), "", "", ""),
    ],
)
def test_a_path_is_written_as_each_reader_knows_it(
    path: MemberPath, json: str, sagemaker: str, template: str
) -> None:
    assert (str(path), path.sagemaker_path, path.template) == (json, sagemaker, template)


def test_a_long_key_is_cut_in_a_path() -> None:
    path = MemberPath(("Environment", Key("k" * 10_000)))
    assert len(str(path)) < 100
    assert len(path.sagemaker_path) < 100


def test_every_set_member_is_given_before_what_is_inside_it() -> None:
    paths = [str(member.path) for member in walk(create_request())]
    assert "HyperParameterTuningJobConfig.ParameterRanges.IntegerParameterRanges[0].Name" in paths
    assert "TrainingJobDefinition.Environment" in paths
    assert "Tags[0].Value" in paths  # set, though empty
    assert paths.index("TrainingJobDefinition") < paths.index("TrainingJobDefinition.RoleArn")
    assert "WarmStartConfig" not in paths


def test_over_long_lists_and_maps_are_found_and_cut_and_the_original_kept() -> None:
    request = create_request()
    for number in range(60):
        request.tags.add(key=f"k{number}", value="")
        request.training_job_definition.environment[f"E{number:02}"] = ""
    assert not is_bounded(request)
    assert [str(member.path) for member in overlong(request)] == [
        "TrainingJobDefinition.Environment",
        "Tags",
    ]
    cut = cut_to_limits(request)
    assert (len(cut.tags), len(cut.training_job_definition.environment)) == (50, 48)
    assert "E47" in cut.training_job_definition.environment
    assert "MODE" not in cut.training_job_definition.environment
    assert len(request.tags) == 61
    assert is_bounded(cut)


def test_elements_beyond_a_limit_are_not_walked() -> None:
    request = pb.CreateHyperParameterTuningJobRequest()
    for _ in range(1000):
        request.tags.add(key="k")
    assert sum(1 for _ in walk(request)) == 1 + 50
