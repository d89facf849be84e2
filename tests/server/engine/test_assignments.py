"""What a runner is told to run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.server.domain.create_requests import SITE, add_channel, create_request
from tests.server.engine.engine_parts import NOW
from tunesmith.v1 import tuning_service_pb2 as tuning_pb
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.instance_types import InstanceProfile
from tunesmith_server.domain.job_spec import read_job_spec
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.trial import Lease, Trial, launch
from tunesmith_server.domain.tuning_job import JobSpec
from tunesmith_server.engine.assignments import Assigner, hyper_parameters

GRACE = timedelta(seconds=7)


def _assigner(site: Site = SITE) -> Assigner:
    return Assigner(site=site, stop_grace=GRACE, clock=lambda: NOW)


def _spec(request: tuning_pb.CreateHyperParameterTuningJobRequest, site: Site = SITE) -> JobSpec:
    return read_job_spec(request, account=Account(), site=site, seed=1)


def _trial() -> Trial:
    waiting = launch(
        name="Digits-1-001-0123abcd",
        index=1,
        definition_name=None,
        parameters={"lr": "0.01", "depth": "4", "kind": "a"},
        now=NOW,
    )
    lease = Lease(token=3, runner_name="r", instance_id="i")
    return replace(waiting, lease=lease, lease_token=3, reported_sequence=2)


def test_a_command_line_is_assigned_with_everything_its_trial_needs() -> None:
    request = create_request()
    add_channel(request)
    request.training_job_definition.resource_config.volume_size_in_gb = 2
    assignment = _assigner().assignment(_spec(request), _trial())
    assert not isinstance(assignment, ev.TrialReported)
    assert assignment.training_job_name == "Digits-1-001-0123abcd"
    assert assignment.lease_token == 3
    assert assignment.training_job_arn == (
        "arn:aws:sagemaker:local:000000000000:training-job/digits-1-001-0123abcd"
    )
    assert assignment.hyper_parameter_tuning_job_name == "Digits-1"
    assert list(assignment.command) == ["python", "train.py"]
    assert assignment.environment == {"MODE": "fast"}
    assert assignment.hyper_parameters == {
        "lr": "0.01",
        "depth": "4",
        "kind": "a",
        "batch-size": "32",
        "_tuning_objective_metric": "loss",
    }
    assert [(m.name, m.regex) for m in assignment.metric_definitions] == [("loss", r"loss=(\S+)")]
    assert [c.channel_name for c in assignment.input_data_config] == ["train"]
    assert assignment.output_data_config.s3_output_path == "file:///var/models"
    assert (assignment.instance_type, assignment.gpu_count) == ("local", 0)
    assert assignment.volume_size_bytes == 2 * 2**30
    assert assignment.max_runtime.ToTimedelta() == timedelta(seconds=600)
    assert assignment.stop_grace.ToTimedelta() == GRACE


def _named(name: str) -> tuning_pb.CreateHyperParameterTuningJobRequest:
    request = create_request()
    specification = request.training_job_definition.algorithm_specification
    specification.ClearField("container_entrypoint")
    specification.ClearField("metric_definitions")
    specification.algorithm_name = name
    return request


def test_a_registered_algorithm_brings_its_command_environment_and_metrics() -> None:
    request = _named("forest")
    request.training_job_definition.environment["THREADS"] = "4"
    assignment = _assigner().assignment(_spec(request), _trial())
    assert not isinstance(assignment, ev.TrialReported)
    assert list(assignment.command) == ["python", "forest.py"]
    assert assignment.environment == {"THREADS": "4", "MODE": "fast"}
    assert [m.name for m in assignment.metric_definitions] == ["loss"]


def test_a_trial_whose_algorithm_the_site_has_lost_fails_in_words() -> None:
    failed = _assigner(Site()).assignment(_spec(_named("forest")), _trial())
    assert isinstance(failed, ev.TrialReported)
    assert (failed.lease_token, failed.sequence, failed.reported_at) == (3, 3, NOW)
    assert isinstance(failed.report, ev.TrialEnded)
    assert failed.report.outcome is ev.Outcome.FAILED
    assert failed.report.failure_reason.startswith("ClientError: This site has no algorithm")
    assert not failed.report.retryable


def test_variables_that_the_site_takes_no_more_fail_a_trial_in_words() -> None:
    request = _named("forest")
    request.training_job_definition.environment["PYTHONPATH"] = "../input/data/c"
    strict = replace(SITE, allow_inline_commands=False)
    failed = _assigner(strict).assignment(_spec(request), _trial())
    assert isinstance(failed, ev.TrialReported)
    assert isinstance(failed.report, ev.TrialEnded)
    assert "PYTHONPATH from requests no more" in failed.report.failure_reason
    assert not isinstance(_assigner().assignment(_spec(request), _trial()), ev.TrialReported)


def test_an_instance_type_says_how_many_gpus() -> None:
    profile = InstanceProfile(vcpus=8, memory_bytes=2**34, gpus=4)
    site = replace(SITE, instance_types={"big": profile})
    request = create_request()
    request.training_job_definition.resource_config.instance_type = "big"
    spec = _spec(request, site)
    assert _assigner(site).gpu_count(spec, _trial()) == 4
    # A profile that the site no longer has asks for nothing.
    assert _assigner().gpu_count(spec, _trial()) == 0


def test_tuned_values_come_before_static_ones() -> None:
    request = create_request()
    spec = _spec(request)
    trial = replace(_trial(), parameters={"batch-size": "64"})
    assert hyper_parameters(spec, trial)["batch-size"] == "64"


def test_where_checkpoints_are_kept_is_assigned_as_it_was_asked_for() -> None:
    request = create_request()
    assignment = _assigner().assignment(_spec(request), _trial())
    assert not isinstance(assignment, ev.TrialReported)
    assert not assignment.HasField("checkpoint_config")
    request.training_job_definition.checkpoint_config.s3_uri = "file:///kept"
    assignment = _assigner().assignment(_spec(request), _trial())
    assert not isinstance(assignment, ev.TrialReported)
    assert assignment.checkpoint_config.s3_uri == "file:///kept"
