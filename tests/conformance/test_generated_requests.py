"""What SageMaker's model allows is accepted, and each constraint of it, broken, is refused by name."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conformance.deliberate_differences import DELIBERATE_DIFFERENCES
from tests.conformance.largest_requests import NOT_IN_PLURAL, NOT_IN_SINGULAR, largest
from tests.conformance.members import Structure
from tests.conformance.request_values import Breakage, breakages, least_structure, members_of
from tests.conformance.sagemaker_model import OPERATIONS, sagemaker_operations
from tests.e2e.harness import ServerProcess
from tunesmith_server.domain.validation.unserved import RULED_OUT, UNSERVED, singular_form

pytestmark = pytest.mark.timeout(180)

#: What the largest requests name, and nothing of its own that Describe would add.
SITE: Final = """
[algorithms.quadratic]
command = ["true"]

[images."registry.example.com/quadratic:1"]
algorithm = "quadratic"
"""

CREATE: Final = "CreateHyperParameterTuningJob"
DESCRIBE: Final = "DescribeHyperParameterTuningJob"

#: What the model does not ask for, and a rule of SageMaker's does.
RULED: Final[dict[str, Any]] = {
    "HyperParameterTuningJobName": "least",
    "HyperParameterTuningJobConfig": {
        "Strategy": "Bayesian",
        "ResourceLimits": {"MaxParallelTrainingJobs": 1, "MaxNumberOfTrainingJobs": 1},
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "m"},
        "ParameterRanges": {
            "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]
        },
    },
}

#: Constraints that the model has and this service has not, with the reason.
EXPLAINED: Final[Mapping[tuple[str, str, str], str]] = {
    **{
        (CREATE, f"{definition}.{member}[].InstanceType", "enum"): (
            "Instance types are the site's, and the list around this one is refused as a whole."
        )
        for definition in ("TrainingJobDefinition", "TrainingJobDefinitions[]")
        for member in (
            "ResourceConfig.InstanceGroups",
            "ResourceConfig.InstancePreferences",
            "HyperParameterTuningResourceConfig.InstanceConfigs",
        )
    },
    ("AddTags", "Tags", "required"): (
        "Protobuf does not tell an empty list, which is allowed, from an absent one."
    ),
}

PATTERNS: Final = {
    shape: difference.ours
    for difference in DELIBERATE_DIFFERENCES
    if difference.aspect == "pattern" and difference.ours is not None
    for shape in difference.where
}


class Caller:
    """Send requests to a server over one connection."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=30)

    def __call__(self, operation: str, request: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"SageMaker.{operation}",
        }
        self.connection.request("POST", "/", json.dumps(request), headers)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def accepted(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        status, answer = self(operation, request)
        assert status == 200, answer
        return answer


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """Give a server without a runner, so that nothing is run, and a connection to it."""
    folder: Path = tmp_path_factory.mktemp("generated")
    config = folder / "tunesmith.toml"
    config.write_text(SITE, encoding="utf-8")
    server = ServerProcess(folder / "data", runner=False, config=config)
    try:
        caller = Caller(server.start().http)
        with contextlib.closing(caller.connection):
            yield caller
    finally:
        server.close()


def request_of(operation: str) -> Structure:
    return sagemaker_operations()[operation][0]


def created(call: Caller, request: Mapping[str, Any]) -> dict[str, Any]:
    """Create a tuning job, and give its description."""
    call.accepted(CREATE, request)
    name = request["HyperParameterTuningJobName"]
    return call.accepted(DESCRIBE, {"HyperParameterTuningJobName": name})


def not_echoed(asked: Any, shown: Any, path: str = "") -> list[str]:
    """Give the members of a request that an answer does not show as they were asked for."""
    if isinstance(asked, dict):
        return [
            lost
            for name, value in asked.items()
            for lost in not_echoed(value, (shown or {}).get(name), f"{path}.{name}")
        ]
    if isinstance(asked, list):
        if not isinstance(shown, list) or len(shown) != len(asked):
            return [path]
        pairs = zip(asked, shown, strict=True)
        return [
            lost
            for number, (one, other) in enumerate(pairs)
            for lost in not_echoed(one, other, f"{path}[{number}]")
        ]
    if isinstance(asked, float) and isinstance(shown, float):
        return [] if math.isclose(asked, shown, rel_tol=1e-6) else [path]
    if path.endswith(".AlgorithmName"):
        return [] if str(shown).endswith(f"/{asked}") else [path]
    return [] if asked == shown else [path]


def test_the_least_create_request_is_accepted_and_echoed(call: Caller) -> None:
    least = least_structure(request_of(CREATE))
    for name in ("HyperParameterTuningJobName", "HyperParameterTuningJobConfig"):
        assert name in least
    assert not_echoed(RULED, created(call, RULED)) == []


@pytest.mark.parametrize("plural", [False, True])
def test_the_largest_create_request_is_accepted_and_echoed(call: Caller, plural: bool) -> None:  # noqa: FBT001 - a test's parameter
    request = largest(request_of(CREATE), plural=plural)
    request["HyperParameterTuningJobName"] = f"{'n' * 30}-{plural:d}"
    described = created(call, request)
    tags = call.accepted("ListTags", {"ResourceArn": described["HyperParameterTuningJobArn"]})
    described["Tags"] = tags["Tags"]
    request["Tags"].sort(key=lambda tag: tag["Key"])
    assert not_echoed(request, described) == []


def test_the_largest_warm_start_is_accepted_and_echoed(call: Caller) -> None:
    request = largest(request_of(CREATE), plural=False)
    config = request["HyperParameterTuningJobConfig"]
    config["ResourceLimits"]["MaxNumberOfTrainingJobs"] = 100
    parents = [f"{'p' * 30}-{number}" for number in range(5)]
    for parent in parents:
        request["HyperParameterTuningJobName"] = parent
        call.accepted(CREATE, request)
        call.accepted("StopHyperParameterTuningJob", {"HyperParameterTuningJobName": parent})
    request["HyperParameterTuningJobName"] = f"{'w' * 32}"
    request["WarmStartConfig"] = {
        "ParentHyperParameterTuningJobs": [
            {"HyperParameterTuningJobName": parent} for parent in parents
        ],
        "WarmStartType": "TransferLearning",
    }
    described = created(call, request)
    assert not_echoed({"WarmStartConfig": request["WarmStartConfig"]}, described) == []


@pytest.mark.parametrize("operation", ["ListHyperParameterTuningJobs", "ListTrainingJobs"])
def test_the_least_and_the_largest_list_request_is_accepted(call: Caller, operation: str) -> None:
    call.accepted(operation, least_structure(request_of(operation)))
    times = {
        member.name: 1_700_000_000.5 + number
        for number, member in enumerate(request_of(operation).members)
        if member.value.kind == "timestamp"
    }
    enums = [member for member in request_of(operation).members if member.value.kind == "enum"]
    longest = max(len(member.value.words) for member in enums)
    for number in range(longest):
        words = {
            member.name: member.value.words[number % len(member.value.words)] for member in enums
        }
        call.accepted(operation, {**times, **words, "NameContains": "n" * 63, "MaxResults": 100})


def test_the_list_of_a_tuning_jobs_training_jobs_takes_every_order_and_status(call: Caller) -> None:
    operation = "ListTrainingJobsForHyperParameterTuningJob"
    named = {"HyperParameterTuningJobName": "listed"}
    call.accepted(CREATE, {**RULED, **named})
    members = {member.name: member.value for member in request_of(operation).members}
    call.accepted(operation, named)
    for sort in members["SortBy"].words:
        for status in members["StatusEquals"].words:
            answer = call.accepted(
                operation,
                {
                    **named,
                    "SortBy": sort,
                    "StatusEquals": status,
                    "SortOrder": "Descending",
                    "MaxResults": 100,
                },
            )
            assert answer == {"TrainingJobSummaries": []}


def test_the_least_and_the_largest_tags_are_accepted_and_listed(call: Caller) -> None:
    request = {**RULED, "HyperParameterTuningJobName": "tagged"}
    arn = call.accepted(CREATE, request)["HyperParameterTuningJobArn"]
    assert call.accepted("ListTags", {"ResourceArn": arn}) == {"Tags": []}
    letters = "ä Ω1_.:/=+-@"
    tags = [
        {"Key": (f"{number:02}{letters}" * 10)[:128], "Value": (letters * 30)[:256]}
        for number in range(50)
    ]
    added = call.accepted("AddTags", {"ResourceArn": arn, "Tags": tags})["Tags"]
    listed = call.accepted("ListTags", {"ResourceArn": arn, "MaxResults": 50})["Tags"]
    by_key = sorted(tags, key=lambda tag: tag["Key"])
    assert sorted(added, key=lambda tag: tag["Key"]) == by_key
    assert sorted(listed, key=lambda tag: tag["Key"]) == by_key
    keys = [tag["Key"] for tag in tags]
    assert call.accepted("DeleteTags", {"ResourceArn": arn, "TagKeys": keys}) == {}
    assert call.accepted("ListTags", {"ResourceArn": arn}) == {"Tags": []}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_constraint_broken_once_is_refused_by_name(call: Caller, operation: str) -> None:
    structure = request_of(operation)
    base = RULED if operation == CREATE else least_structure(structure)
    wrong = []
    seen = 0
    for broken in breakages(structure, base, patterns=PATTERNS):
        seen += 1
        status, answer = call(operation, broken.request)
        key = (operation, broken.template, broken.constraint)
        is_right = _is_refused_by_name(broken, status, answer)
        if is_right == (key in EXPLAINED):
            wrong.append((key, status, str(answer)[:300]))
    assert seen
    assert wrong == []


def _is_refused_by_name(broken: Breakage, status: int, answer: Mapping[str, Any]) -> bool:
    told = str(answer.get("message", ""))
    return (
        status == 400
        and answer.get("__type") == "ValidationException"
        and (f"'{broken.sagemaker_path}" in told or f"{broken.path}" in told)
    )


def test_every_member_is_in_a_largest_request_or_left_out_for_a_reason() -> None:
    structure = request_of(CREATE)
    asked = {
        singular_form(template)
        for plural in (False, True)
        for template in templates(largest(structure, plural=plural))
    }
    reasons = {*UNSERVED, *RULED_OUT, *NOT_IN_SINGULAR, *NOT_IN_PLURAL}
    left_out = {singular_form(template) for template in reasons} - asked
    model = {singular_form(template) for template in members_of(structure)}
    unexplained = {
        template
        for template in model - asked
        if not any(
            template == out or template.startswith((f"{out}.", f"{out}[")) for out in left_out
        )
    }
    assert unexplained == set()
    assert len(asked) > 100


def test_every_explained_exclusion_is_of_a_constraint_that_there_is() -> None:
    found = {
        (operation, broken.template, broken.constraint)
        for operation in OPERATIONS
        for broken in breakages(request_of(operation), {}, patterns=PATTERNS)
    }
    assert set(EXPLAINED) <= found


def templates(data: Any, path: str = "") -> Iterator[str]:
    """Give the templates of the members of a request."""
    if isinstance(data, list):
        for item in data:
            yield from templates(item, f"{path}[]")
    elif isinstance(data, dict):
        for name, value in data.items():
            where = f"{path}.{name}" if path else name
            yield where
            yield from templates(value, where)
