"""What callers do to tuning jobs: stop, delete, tag, repeat themselves, ask for too much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.e2e import jobs
from tests.e2e.calls import STOPPED, Calls, Event, Refused, refusing, trial_runs
from tests.e2e.conftest import ServerMaker
from tests.e2e.harness import trial_processes
from tests.e2e.jobs import create_request, write_script
from tunesmith.v1 import tag_pb2, training_job_pb2
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_service_pb2 as pb

pytestmark = pytest.mark.timeout(120)

TRAINING_COMPLETED = training_job_pb2.TRAINING_JOB_STATUS_COMPLETED
TRAINING_STOPPED = training_job_pb2.TRAINING_JOB_STATUS_STOPPED


def test_a_stopped_job_stops_its_training_jobs(calls: Calls, tmp_path: Path) -> None:
    script = write_script(tmp_path, jobs.ENDLESS)
    calls.create(create_request("stop", script=script, output=tmp_path / "out", jobs=9, parallel=2))
    running = 0

    def two_run(event: Event) -> bool:
        nonlocal running
        running += trial_runs(event)
        return running == 2

    seen = calls.watch_until("stop", two_run)
    calls.stop("stop")
    with pytest.raises(Refused) as again:
        calls.stop("stop")
    calls.watch_to_end("stop", after=seen[-1].sequence)
    described = calls.describe("stop")

    assert again.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert again.value.reason == "ValidationException"
    assert described.hyper_parameter_tuning_job_status == STOPPED
    assert described.training_job_status_counters.stopped == 2
    assert [s.training_job_status for s in calls.training_jobs("stop")] == [TRAINING_STOPPED] * 2
    assert trial_processes(tmp_path / "data") == []


def test_one_stopped_training_job_leaves_the_others_alone(calls: Calls, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    static = {"gate": str(gate), "starts": str(tmp_path / "starts")}
    script = write_script(tmp_path, jobs.GATED)
    calls.create(
        create_request(
            *("single",), script=script, output=tmp_path / "out", jobs=2, parallel=2, static=static
        )
    )
    seen = calls.watch_until("single", trial_runs)
    victim = seen[-1].training_job.summary.training_job_name
    calls.stop_training_job(victim)
    calls.watch_until(
        "single",
        lambda event: (
            event.training_job.summary.training_job_name == victim
            and event.training_job.summary.training_job_status == TRAINING_STOPPED
        ),
    )
    gate.touch()
    calls.watch_to_end("single")
    statuses = {s.training_job_name: s.training_job_status for s in calls.training_jobs("single")}
    assert statuses.pop(victim) == TRAINING_STOPPED
    assert set(statuses.values()) == {TRAINING_COMPLETED}
    with pytest.raises(Refused) as late:
        calls.stop_training_job(victim)
    assert late.value.code == grpc.StatusCode.FAILED_PRECONDITION


def test_a_trial_beyond_its_maximum_runtime_is_stopped(calls: Calls, tmp_path: Path) -> None:
    script = write_script(tmp_path, jobs.ENDLESS)
    calls.create(
        create_request("slow", script=script, output=tmp_path / "out", jobs=1, max_runtime_s=1)
    )
    calls.watch_to_end("slow")
    (summary,) = calls.training_jobs("slow")
    described = calls.training_job(summary.training_job_name)
    assert described.training_job_status == TRAINING_STOPPED
    assert described.secondary_status == training_job_pb2.SECONDARY_STATUS_MAX_RUNTIME_EXCEEDED
    assert summary.final_hyper_parameter_tuning_job_objective_metric.value == 0.5


def test_a_deleted_job_frees_its_name_and_keeps_its_training_jobs(
    calls: Calls, quadratic: Path, tmp_path: Path
) -> None:
    request = create_request("gone", script=quadratic, output=tmp_path / "out", jobs=1)
    calls.create(request)
    with pytest.raises(Refused) as early:
        calls.delete("gone")
    with pytest.raises(Refused) as taken:
        calls.create(request)
    calls.watch_to_end("gone")
    (summary,) = calls.training_jobs("gone")
    calls.delete("gone")
    with pytest.raises(Refused) as missing:
        calls.describe("gone")

    assert early.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert (taken.value.code, taken.value.reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "ResourceInUse",
    )
    assert (missing.value.code, missing.value.reason) == (
        grpc.StatusCode.NOT_FOUND,
        "ResourceNotFound",
    )
    kept = calls.training_job(summary.training_job_name)
    assert kept.training_job_status == TRAINING_COMPLETED
    calls.create(request)
    calls.watch_to_end("gone")
    (fresh,) = calls.training_jobs("gone")
    assert fresh.training_job_name != summary.training_job_name


def test_a_deleted_training_job_is_gone_and_its_tuning_job_stays(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    static = {"gate": str(gate), "starts": str(tmp_path / "starts")}
    server = make_server().start()
    with Calls(server.address) as calls:
        calls.create(
            create_request(
                *("kept",),
                script=write_script(tmp_path, jobs.GATED),
                output=tmp_path / "out",
                jobs=2,
                parallel=1,
                static=static,
            )
        )
        name = calls.watch_until("kept", trial_runs)[-1].training_job.summary.training_job_name
        with pytest.raises(Refused) as early:
            calls.delete_training_job(name)
        gate.touch()
        calls.watch_to_end("kept")
        before = calls.describe("kept")
        ended = calls.training_job(name)
        calls.delete_training_job(name)
        _check_deleted(calls, before, ended)
        assert server.terminate() == 0
    server.start()
    with Calls(server.address) as calls:
        _check_deleted(calls, before, ended)

    assert early.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert early.value.reason == "ResourceInUse"
    assert "is InProgress; stop it first" in early.value.text
    assert Path(ended.model_artifacts.s3_model_artifacts.removeprefix("file://")).exists()


def _check_deleted(
    calls: Calls,
    before: pb.DescribeHyperParameterTuningJobResponse,
    deleted: training_pb.DescribeTrainingJobResponse,
) -> None:
    """Check that a deleted training job is found nowhere, and its tuning job as it was."""
    name = deleted.training_job_name
    tuning_job = before.hyper_parameter_tuning_job_name
    tags = pb.ListTagsRequest(resource_arn=deleted.training_job_arn)
    attempts: dict[str, tuple[Callable[[], object], str]] = {
        "describe": (lambda: calls.training_job(name), "ValidationException"),
        "stop": (lambda: calls.stop_training_job(name), "ValidationException"),
        "delete": (lambda: calls.delete_training_job(name), "ResourceNotFound"),
        "tags": (
            lambda: refusing(lambda: calls.stub.ListTags(tags, timeout=10)),
            "ResourceNotFound",
        ),
    }
    for attempt, reason in attempts.values():
        with pytest.raises(Refused) as missing:
            attempt()
        assert (missing.value.code, missing.value.reason) == (grpc.StatusCode.NOT_FOUND, reason)
    of_all = calls.stub.ListTrainingJobs(training_pb.ListTrainingJobsRequest(), timeout=10)
    listed = [each.training_job_name for each in calls.training_jobs(tuning_job)]
    assert [each.training_job_name for each in of_all.training_job_summaries] == listed
    assert len(listed) == 1
    assert name not in listed
    assert calls.describe(tuning_job) == before
    assert before.training_job_status_counters.completed == 2
    assert before.best_training_job.training_job_name == name


def test_tags_reach_the_training_jobs_that_are_launched_after_them(
    calls: Calls, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    static = {"gate": str(gate), "starts": str(tmp_path / "starts")}
    request = create_request(
        *("tags",),
        script=write_script(tmp_path, jobs.GATED),
        output=tmp_path / "out",
        jobs=2,
        parallel=1,
        static=static,
        tags={"team": "blue"},
    )
    arn = calls.create(request)
    calls.watch_until("tags", trial_runs)
    added = calls.stub.AddTags(
        pb.AddTagsRequest(resource_arn=arn, tags=[tag_pb2.Tag(key="late", value="yes")]), timeout=10
    )
    gate.touch()
    calls.watch_to_end("tags")
    first, second = sorted(calls.training_jobs("tags"), key=lambda s: s.training_job_name)

    def tags(resource_arn: str) -> dict[str, str]:
        answer = calls.stub.ListTags(pb.ListTagsRequest(resource_arn=resource_arn), timeout=10)
        return {tag.key: tag.value for tag in answer.tags}

    assert {tag.key for tag in added.tags} == {"team", "late"}
    assert tags(first.training_job_arn) == {"team": "blue"}
    assert tags(second.training_job_arn) == {"team": "blue", "late": "yes"}
    calls.stub.DeleteTags(pb.DeleteTagsRequest(resource_arn=arn, tag_keys=["team"]), timeout=10)
    assert tags(arn) == {"late": "yes"}


def test_a_create_repeated_under_its_request_id_creates_nothing(
    calls: Calls, quadratic: Path, tmp_path: Path
) -> None:
    request = create_request("twice", script=quadratic, output=tmp_path / "out", jobs=1)
    first = calls.create(request, request_id="key-1")
    again = calls.create(request, request_id="key-1")
    other = create_request("other", script=quadratic, output=tmp_path / "out", jobs=1)
    with pytest.raises(Refused) as reused:
        calls.create(other, request_id="key-1")
    calls.watch_to_end("twice")
    after_the_end = calls.create(request, request_id="key-1")

    assert first == again == after_the_end
    assert len(calls.training_jobs("twice")) == 1
    assert (reused.value.code, reused.value.reason) == (
        grpc.StatusCode.ABORTED,
        "ConflictException",
    )
    assert reused.value.request_id == "key-1"


def test_a_stop_repeated_under_its_request_id_is_answered_again(
    calls: Calls, tmp_path: Path
) -> None:
    script = write_script(tmp_path, jobs.ENDLESS)
    for name in ("again", "else"):
        calls.create(create_request(name, script=script, output=tmp_path / "out", jobs=1))
    calls.stop("again", request_id="stop-1")
    calls.stop("again", request_id="stop-1")
    with pytest.raises(Refused) as reused:
        calls.stop("else", request_id="stop-1")
    assert reused.value.code == grpc.StatusCode.ABORTED
    calls.watch_to_end("again")
    calls.stop("else")
    calls.watch_to_end("else")


def test_a_member_that_is_not_served_yet_is_refused_by_name(
    calls: Calls, quadratic: Path, tmp_path: Path
) -> None:
    request = create_request("later", script=quadratic, output=tmp_path / "out")
    request.training_job_definition.enable_network_isolation = True
    with pytest.raises(Refused) as refused:
        calls.create(request)
    assert refused.value.code == grpc.StatusCode.UNIMPLEMENTED
    assert "TrainingJobDefinition.EnableNetworkIsolation" in refused.value.fields


def test_what_does_not_exist_is_not_found(calls: Calls) -> None:
    attempts: dict[str, Callable[[], object]] = {
        "describe": lambda: calls.describe("nothing"),
        "stop": lambda: calls.stop("nothing"),
        "delete": lambda: calls.delete("nothing"),
        "list": lambda: calls.training_jobs("nothing"),
        "watch": lambda: calls.watch_to_end("nothing"),
        "tags": lambda: refusing(
            lambda: calls.stub.ListTags(
                pb.ListTagsRequest(
                    resource_arn="arn:aws:sagemaker:local:000000000000:training-job/nothing"
                ),
                timeout=10,
            )
        ),
    }
    for attempt in attempts.values():
        with pytest.raises(Refused) as missing:
            attempt()
        assert missing.value.code == grpc.StatusCode.NOT_FOUND
        assert missing.value.reason == "ResourceNotFound"
    for training_attempt in (calls.training_job, calls.stop_training_job):
        with pytest.raises(Refused) as missing:
            training_attempt("nothing")
        assert missing.value.code == grpc.StatusCode.NOT_FOUND
        assert missing.value.reason == "ValidationException"
        assert missing.value.text == "Requested resource not found."
