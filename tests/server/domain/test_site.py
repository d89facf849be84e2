from __future__ import annotations

from dataclasses import replace

import pytest

from tests.server.domain.create_requests import SITE
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith_server.domain.errors import InvalidRequest, ResourceLimitExceeded
from tunesmith_server.domain.instance_types import InstanceProfile
from tunesmith_server.domain.site import (
    MetricDefinition,
    Quotas,
    Site,
    of_image,
    resolve_algorithm,
)

Specification = definition_pb.HyperParameterAlgorithmSpecification


@pytest.mark.parametrize(
    "specification",
    [
        Specification(algorithm_name="forest"),
        Specification(algorithm_name="arn:aws:sagemaker:x:123456789012:algorithm/forest"),
        Specification(training_image="registry.example/forest:1"),
    ],
)
def test_a_registered_algorithm_is_found_by_each_of_its_names(specification: Specification) -> None:
    resolved = resolve_algorithm(specification, SITE, is_script=False)
    assert resolved.command == ("python", "forest.py")
    assert resolved.environment == {"THREADS": "1"}
    assert resolved.metric_definitions == SITE.algorithms["forest"].metric_definitions
    assert resolved.registered_name == "forest"


def test_a_command_line_runs_as_it_stands() -> None:
    specification = Specification(
        container_entrypoint=["python", "-u"], container_arguments=["train.py", "--fast"]
    )
    specification.metric_definitions.add(name="loss", regex="l=(.*)")
    resolved = resolve_algorithm(specification, Site(), is_script=False)
    assert resolved.command == ("python", "-u", "train.py", "--fast")
    assert resolved.metric_definitions == (MetricDefinition(name="loss", regex="l=(.*)"),)
    assert resolved.registered_name is None


def test_a_requests_metrics_extend_and_override_the_algorithms() -> None:
    specification = Specification(algorithm_name="forest")
    specification.metric_definitions.add(name="loss", regex="mine=(.*)")
    specification.metric_definitions.add(name="f1", regex="f1=(.*)")
    assert resolve_algorithm(specification, SITE, is_script=False).metric_definitions == (
        MetricDefinition(name="loss", regex="mine=(.*)"),
        MetricDefinition(name="f1", regex="f1=(.*)"),
    )


def test_an_algorithms_name_keeps_its_case() -> None:
    with pytest.raises(InvalidRequest, match=r"no algorithm called 'Forest'\. It has forest\."):
        resolve_algorithm(Specification(algorithm_name="Forest"), SITE, is_script=False)


def test_an_image_of_an_algorithm_that_is_gone_is_refused() -> None:
    site = replace(SITE, algorithms={})
    with pytest.raises(InvalidRequest) as refusal:
        resolve_algorithm(
            Specification(training_image="registry.example/forest:1"), site, is_script=False
        )
    assert refusal.value.violations[0].path.endswith(".AlgorithmSpecification.TrainingImage")


def test_a_refusal_names_the_definition_it_is_about() -> None:
    path = "TrainingJobDefinitions[3].AlgorithmSpecification"
    with pytest.raises(InvalidRequest) as refusal:
        resolve_algorithm(Specification(algorithm_name="x"), SITE, is_script=False, path=path)
    assert refusal.value.violations[0].path == f"{path}.AlgorithmName"


def test_a_sites_own_profile_comes_before_the_shipped_one() -> None:
    own = InstanceProfile(vcpus=1, memory_bytes=2**30, gpus=0)
    site = Site(instance_types={"ml.p3.2xlarge": own})
    assert site.instance_profile("ml.p3.2xlarge") == own
    assert site.instance_profile("ml.p3.8xlarge") == Site().instance_profile("ml.p3.8xlarge")
    assert site.instance_profile("nothing") is None


def test_similar_names_are_found_among_all() -> None:
    site = Site(
        instance_types={"workstation": InstanceProfile(vcpus=1, memory_bytes=2**30, gpus=0)}
    )
    assert site.similar_instance_types("workstaton") == ["workstation"]
    assert site.similar_instance_types("ml.g5.xlrge")[0] == "ml.g5.xlarge"
    assert site.similar_instance_types("zzz") == []


@pytest.mark.parametrize(
    ("used", "wanted", "limit"),
    [
        ([], 4, None),
        ([2], 2, None),
        ([1, 1], 1, "'tuning_jobs' is 2 Instances, with current utilization of 2 .* delta of 1 "),
        ([3], 2, "'parallel_training_jobs' is 4 Instances, .* of 3 Instances .* delta of 2 "),
        ([], 5, "'parallel_training_jobs' is 4 .* raise parallel_training_jobs in .quotas. "),
    ],
)
def test_quotas_count_all_tuning_jobs(used: list[int], wanted: int, limit: str | None) -> None:
    quotas = Quotas(tuning_jobs=2, parallel_training_jobs=4)
    if limit is None:
        quotas.check(used=used, wanted=wanted)
    else:
        with pytest.raises(ResourceLimitExceeded, match=limit):
            quotas.check(used=used, wanted=wanted)
    Quotas().check(used=[1000] * 1000, wanted=1000)


def test_a_script_is_run_with_the_python_of_its_image() -> None:
    site = Site(pythons={"sklearn:1": "/venv/bin/python"}, allow_inline_commands=False)
    specification = Specification(training_image="sklearn:1")
    specification.metric_definitions.add(name="loss", regex="l=(.*)")
    resolved = resolve_algorithm(specification, site, is_script=True)
    assert resolved.command == ("/venv/bin/python",)
    assert resolved.metric_definitions == (MetricDefinition(name="loss", regex="l=(.*)"),)
    assert resolved.registered_name is None


def test_a_pattern_stands_for_every_image_that_it_fits() -> None:
    table = {
        "*/sagemaker-scikit-learn:*": "sklearn",
        "*": "any",
        "1.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3": "exact",
    }
    image = "1.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
    assert of_image(table, image) == "exact"
    assert of_image(table, image.replace("east", "west")) == "sklearn"
    assert of_image(table, "registry.example/forest:1") == "any"


@pytest.mark.parametrize(
    ("pattern", "image", "fits"),
    [
        ("registry.example/*", "registry.example/forest:1", True),
        ("registry.example/*", "registry-example/forest:1", False),  # a dot is a dot
        ("*forest:1", "forest:1", True),
        ("forest*forest", "forest", False),  # no character counts twice
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("forest", "forest:1", False),
        ("forest?1", "forest:1", False),
        ("forest:[12]*", "forest:1", False),
    ],
)
def test_a_star_is_all_that_a_pattern_has(pattern: str, image: str, *, fits: bool) -> None:
    assert of_image({pattern: "found"}, image) == ("found" if fits else None)


def test_a_pattern_of_many_stars_takes_no_longer() -> None:
    pattern = "*a" * 120 + "b"
    assert of_image({pattern: "found"}, "a" * 255) is None


def test_images_and_scripts_are_resolved_by_patterns() -> None:
    site = replace(SITE, images={"*/forest:*": "forest"}, pythons={"*/forest:*": "/venv/python"})
    specification = Specification(training_image="elsewhere.example/forest:2")
    assert resolve_algorithm(specification, site, is_script=False).registered_name == "forest"
    assert resolve_algorithm(specification, site, is_script=True).command == ("/venv/python",)


@pytest.mark.parametrize("image", ["unknown:1", "registry.example/forest:1"])
def test_a_script_of_another_image_is_run_with_the_runners_own_python(image: str) -> None:
    resolved = resolve_algorithm(Specification(training_image=image), SITE, is_script=True)
    assert resolved.command == ()


def test_a_site_that_allows_no_command_lines_runs_no_script_of_another_image() -> None:
    site = replace(SITE, allow_inline_commands=False)
    specification = Specification(training_image="registry.example/forest:1")
    with pytest.raises(
        InvalidRequest, match=r'\[images\."registry.*:1"\] python = "/path'
    ) as refusal:
        resolve_algorithm(specification, site, is_script=True)
    assert refusal.value.violations[0].path.endswith(".TrainingImage")


@pytest.mark.parametrize(
    ("specification", "member"),
    [
        (Specification(algorithm_name="forest"), "AlgorithmName"),
        (Specification(container_entrypoint=["python"]), "ContainerEntrypoint"),
    ],
)
def test_a_script_goes_with_an_image_alone(specification: Specification, member: str) -> None:
    with pytest.raises(InvalidRequest, match="a script goes with a TrainingImage") as refusal:
        resolve_algorithm(specification, SITE, is_script=True)
    assert refusal.value.violations[0].path.endswith(f".{member}")
