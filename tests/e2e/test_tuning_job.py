"""Whole tuning jobs over gRPC: a real server, its runner, real trials."""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.e2e import jobs
from tests.e2e.calls import COMPLETED, FAILED, Calls, Event
from tests.e2e.jobs import create_request, write_script
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import sorting_pb2, training_job_pb2
from tunesmith.v1 import training_job_operations_pb2 as training_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb

pytestmark = pytest.mark.timeout(120)

TRAINING_COMPLETED = training_job_pb2.TRAINING_JOB_STATUS_COMPLETED
TRAINING_STOPPED = training_job_pb2.TRAINING_JOB_STATUS_STOPPED


def test_a_job_runs_all_its_training_jobs_and_finds_the_best(
    calls: Calls, quadratic: Path, tmp_path: Path
) -> None:
    arn = calls.create(
        create_request("whole", script=quadratic, output=tmp_path / "out", jobs=6, parallel=3)
    )
    events = calls.watch_to_end("whole")
    described = calls.describe("whole")

    assert arn == "arn:aws:sagemaker:local:000000000000:hyper-parameter-tuning-job/whole"
    assert described.hyper_parameter_tuning_job_arn == arn
    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.training_job_status_counters.completed == 6
    assert described.objective_status_counters.succeeded == 6
    summaries = calls.training_jobs("whole")
    objectives = {
        summary.training_job_name: summary.final_hyper_parameter_tuning_job_objective_metric.value
        for summary in summaries
    }
    for summary in summaries:
        x = float(summary.tuned_hyper_parameters["x"])
        assert objectives[summary.training_job_name] == (x - 0.3) ** 2
    best = described.best_training_job
    assert objectives[best.training_job_name] == min(objectives.values())
    assert events[-1].tuning_job.hyper_parameter_tuning_job_status == COMPLETED
    assert events[-1].tuning_job.best_training_job == best
    _assert_events_are_in_order(events, list(objectives))
    assert _parallel_at_most(events) == 3


@pytest.mark.parametrize("criterion", ["target", "not improving"])
def test_a_completion_criterion_ends_a_job_and_is_named(
    calls: Calls, quadratic: Path, tmp_path: Path, criterion: str
) -> None:
    request = create_request(
        "early", script=quadratic, output=tmp_path / "out", jobs=60, parallel=2
    )
    criteria = request.hyper_parameter_tuning_job_config.tuning_job_completion_criteria
    if criterion == "target":
        criteria.target_objective_metric_value = 0.2
    else:
        criteria.best_objective_not_improving.max_number_of_training_jobs_not_improving = 3
    calls.create(request)
    calls.watch_to_end("early")
    described = calls.describe("early")

    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.training_job_status_counters.completed < 60
    details = described.tuning_job_completion_details
    best = described.best_training_job.final_hyper_parameter_tuning_job_objective_metric.value
    if criterion == "target":
        met = job_pb.COMPLETION_CRITERION_TARGET_OBJECTIVE_METRIC_VALUE
        assert best <= 0.2
    else:
        met = job_pb.COMPLETION_CRITERION_BEST_OBJECTIVE_NOT_IMPROVING
        assert details.number_of_training_jobs_objective_not_improving >= 3
    assert details.completion_criterion == met
    assert described.consumed_resources.HasField("runtime_in_seconds")
    echo = described.hyper_parameter_tuning_job_config.tuning_job_completion_criteria
    assert echo.target_objective_metric_value == criteria.target_objective_metric_value


def test_a_training_job_that_falls_behind_is_stopped(calls: Calls, tmp_path: Path) -> None:
    request = create_request(
        "behind",
        script=write_script(tmp_path, jobs.WORSENING),
        output=tmp_path / "out",
        jobs=4,
        parallel=1,
        static={"starts": str(tmp_path / "starts")},
    )
    auto = job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_AUTO
    request.hyper_parameter_tuning_job_config.training_job_early_stopping_type = auto
    calls.create(request)
    calls.watch_to_end("behind")
    described = calls.describe("behind")

    assert described.hyper_parameter_tuning_job_status == COMPLETED
    counters = described.training_job_status_counters
    assert (counters.completed, counters.stopped) == (2, 2)
    assert described.objective_status_counters.succeeded == 4
    stopped = [
        summary
        for summary in calls.training_jobs("behind")
        if summary.training_job_status == TRAINING_STOPPED
    ]
    for summary in stopped:
        assert summary.final_hyper_parameter_tuning_job_objective_metric.value == 0.9
        story = calls.training_job(summary.training_job_name).secondary_status_transitions
        assert "early: at epoch 1 its objective, 0.9, was worse" in story[-2].status_message
    config = described.hyper_parameter_tuning_job_config
    assert config.training_job_early_stopping_type == auto


def test_hyperband_stops_at_rungs_and_says_which(calls: Calls, tmp_path: Path) -> None:
    request = create_request(
        "rungs",
        script=write_script(tmp_path, jobs.WORSENING),
        output=tmp_path / "out",
        jobs=4,
        parallel=1,
        static={"starts": str(tmp_path / "starts"), "epochs": "9"},
    )
    config = request.hyper_parameter_tuning_job_config
    config.strategy = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND
    config.strategy_config.hyperband_strategy_config.min_resource = 1
    calls.create(request)
    calls.watch_to_end("rungs")
    described = calls.describe("rungs")

    assert described.hyper_parameter_tuning_job_status == COMPLETED
    counters = described.training_job_status_counters
    assert (counters.completed, counters.stopped) == (2, 2)
    best = described.best_training_job.final_hyper_parameter_tuning_job_objective_metric
    assert best.value == 0.5
    told = {
        calls.training_job(summary.training_job_name)
        .secondary_status_transitions[-2]
        .status_message
        for summary in calls.training_jobs("rungs")
        if summary.training_job_status == TRAINING_STOPPED
    }
    assert told == {
        "Stopping the training job early: at rung 1, resource 1, its objective, 0.9, was number "
        f"3 of {entries}; it would have gone on with 0.5"
        for entries in (3, 4)
    }
    verdicts = [
        summary.stopping_verdict
        for summary in calls.training_jobs("rungs")
        if summary.HasField("stopping_verdict")
    ]
    assert [(each.rung, each.rank, each.value, each.threshold) for each in verdicts] == [
        (1, 3, 0.9, 0.5)
    ] * 2
    assert sorted(each.entries for each in verdicts) == [3, 4]
    echo = described.hyper_parameter_tuning_job_config
    assert echo.strategy_config.hyperband_strategy_config.max_resource == 9


def test_a_failure_that_may_pass_is_retried(calls: Calls, tmp_path: Path) -> None:
    request = create_request(
        "passing",
        script=write_script(tmp_path, jobs.PASSING),
        output=tmp_path / "out",
        jobs=1,
        parallel=1,
        static={"starts": str(tmp_path / "starts")},
    )
    request.training_job_definition.retry_strategy.maximum_retry_attempts = 2
    calls.create(request)
    calls.watch_to_end("passing")

    (summary,) = calls.training_jobs("passing")
    assert summary.training_job_status == TRAINING_COMPLETED
    assert summary.final_hyper_parameter_tuning_job_objective_metric.value == 3
    assert (tmp_path / "starts").read_text().split() == [summary.training_job_name] * 3
    described = calls.training_job(summary.training_job_name)
    assert described.retry_strategy.maximum_retry_attempts == 2
    told = [each.status_message for each in described.secondary_status_transitions]
    assert "Retry 1 of 2 after: AlgorithmError: Exit Code: 75" in told
    assert (
        "Retry 2 of 2 after: AlgorithmError: Exit Code: 137 (SIGKILL), as the system ends a program "
        "when memory runs out"
    ) in told
    assert [metric.value for metric in described.final_metric_data_list] == [3]


def test_a_trial_that_is_killed_goes_on_from_its_checkpoint(calls: Calls, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    request = create_request(
        "resuming",
        script=write_script(tmp_path, jobs.CHECKPOINTING),
        output=tmp_path / "out",
        jobs=1,
        parallel=1,
        static={"kept": str(kept)},
    )
    request.training_job_definition.retry_strategy.maximum_retry_attempts = 1
    request.training_job_definition.checkpoint_config.s3_uri = kept.as_uri()
    calls.create(request)
    events = calls.watch_to_end("resuming")

    (summary,) = calls.training_jobs("resuming")
    assert summary.training_job_status == TRAINING_COMPLETED
    name = summary.training_job_name
    lines = [line for event in events for line in event.log.lines if line.startswith("begin")]
    assert lines == ["begin 0", "begin 3"]
    values = [
        (event.metric.step, event.metric.value) for event in events if event.HasField("metric")
    ]
    assert values == [(step, 7.0 - step) for step in range(1, 7)]
    assert (kept / name / "epoch").read_text() == "6"
    described = calls.training_job(name)
    assert described.checkpoint_config.s3_uri == kept.as_uri()
    assert described.checkpoint_config.local_path == "/opt/ml/checkpoints/"


def _assert_events_are_in_order(events: Sequence[Event], names: Sequence[str]) -> None:
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))
    for name in names:
        losses = [
            (event.metric.step, event.metric.value)
            for event in events
            if event.metric.training_job_name == name and event.metric.metric_name == "loss"
        ]
        assert [step for step, _ in losses] == [1, 2, 3]
        assert losses[2][1] == pytest.approx(losses[0][1] + 2)
        lines = [
            line
            for event in events
            if event.log.training_job_name == name
            for line in event.log.lines
        ]
        assert len(lines) == 4


def _parallel_at_most(events: Sequence[Event]) -> int:
    return max(
        event.tuning_job.training_job_status_counters.in_progress
        for event in events
        if event.HasField("tuning_job")
    )


def test_describe_fills_in_what_clients_depend_on(
    calls: Calls, quadratic: Path, tmp_path: Path
) -> None:
    request = create_request("echo", script=quadratic, output=tmp_path / "out", jobs=1, parallel=1)
    calls.create(request)
    running = calls.describe("echo")
    calls.watch_to_end("echo")
    ended = calls.describe("echo")

    config = ended.hyper_parameter_tuning_job_config
    definition = ended.training_job_definition
    assert definition.static_hyper_parameters["_tuning_objective_metric"] == "objective"
    assert config.training_job_early_stopping_type == job_pb.TRAINING_JOB_EARLY_STOPPING_TYPE_OFF
    assert config.resource_limits.max_number_of_training_jobs == 1
    scaling = config.parameter_ranges.continuous_parameter_ranges[0].scaling_type
    assert scaling == space_pb.HYPER_PARAMETER_SCALING_TYPE_AUTO
    for flag in (
        "enable_network_isolation",
        "enable_inter_container_traffic_encryption",
        "enable_managed_spot_training",
    ):
        assert definition.HasField(flag)
        assert getattr(definition, flag) is False
    assert config.HasField("tuning_job_completion_criteria")
    assert definition.HasField("hyper_parameter_ranges")
    assert definition.algorithm_specification.HasField("training_image")
    asked = request.training_job_definition.algorithm_specification
    assert definition.algorithm_specification.metric_definitions == asked.metric_definitions
    assert definition.algorithm_specification.container_entrypoint == asked.container_entrypoint
    assert definition.resource_config.instance_type == "local"
    assert definition.resource_config.instance_count == 1
    assert definition.resource_config.HasField("volume_size_in_gb")
    assert ended.creation_time.ToDatetime() <= ended.hyper_parameter_tuning_end_time.ToDatetime()
    assert not running.HasField("hyper_parameter_tuning_end_time")
    assert ended.HasField("consumed_resources")
    assert not ended.HasField("failure_reason")
    assert not ended.HasField("overall_best_training_job")
    assert not ended.training_job_definitions


def test_a_training_job_is_described_with_its_story_and_its_artifacts(
    calls: Calls, quadratic: Path, tmp_path: Path
) -> None:
    calls.create(
        create_request("one", script=quadratic, output=tmp_path / "out", jobs=1, static={"a": "b"})
    )
    calls.watch_to_end("one")
    (summary,) = calls.training_jobs("one")
    described = calls.training_job(summary.training_job_name)

    assert described.training_job_status == TRAINING_COMPLETED
    assert described.secondary_status == training_job_pb2.SECONDARY_STATUS_COMPLETED
    assert described.hyper_parameters == {
        "a": "b",
        "x": summary.tuned_hyper_parameters["x"],
        "_tuning_objective_metric": "objective",
    }
    assert described.tuning_job_arn == calls.describe("one").hyper_parameter_tuning_job_arn
    final = {metric.metric_name: metric.value for metric in described.final_metric_data_list}
    x = float(summary.tuned_hyper_parameters["x"])
    assert final == {"loss": pytest.approx(x + 2), "objective": pytest.approx((x - 0.3) ** 2)}
    _assert_contiguous(described)
    assert described.resource_config.instance_count == 1
    assert described.output_data_config.HasField("kms_key_id")
    uri = described.model_artifacts.s3_model_artifacts
    assert uri == f"file://{tmp_path}/out/{described.training_job_name}/output/model.tar.gz"
    with tarfile.open(uri.removeprefix("file://")) as archive:
        weights = archive.extractfile("weights.txt")
        assert weights is not None
        assert float(weights.read()) == x
    with tarfile.open(uri.removeprefix("file://").replace("model.tar", "output.tar")) as archive:
        assert archive.getnames() == ["notes.txt"]


def _assert_contiguous(described: training_pb.DescribeTrainingJobResponse) -> None:
    transitions = described.secondary_status_transitions
    names = [training_job_pb2.SecondaryStatus.Name(step.status) for step in transitions]
    assert [name.removeprefix("SECONDARY_STATUS_") for name in names] == [
        *("PENDING", "STARTING", "TRAINING", "UPLOADING", "COMPLETED")
    ]
    for before, after in itertools.pairwise(transitions):
        assert before.end_time == after.start_time
    assert transitions[0].start_time == described.creation_time
    assert transitions[-1].end_time == described.training_end_time
    assert all(step.status_message for step in transitions)


def test_training_jobs_are_listed_in_pages_sorted_and_filtered(
    calls: Calls, quadratic: Path, tmp_path: Path
) -> None:
    calls.create(
        create_request("pages", script=quadratic, output=tmp_path / "out", jobs=5, parallel=4)
    )
    calls.watch_to_end("pages")

    everything = calls.training_jobs("pages")
    by_value = calls.training_jobs(
        "pages",
        training_pb.ListTrainingJobsForHyperParameterTuningJobRequest(
            max_results=2,
            sort_by=sorting_pb2.TRAINING_JOB_SORT_BY_OPTIONS_FINAL_OBJECTIVE_METRIC_VALUE,
            sort_order=sorting_pb2.SORT_ORDER_DESCENDING,
        ),
    )
    stopped = calls.training_jobs(
        "pages",
        training_pb.ListTrainingJobsForHyperParameterTuningJobRequest(
            status_equals=TRAINING_STOPPED
        ),
    )
    values = [s.final_hyper_parameter_tuning_job_objective_metric.value for s in by_value]
    assert len(everything) == 5
    assert values == sorted(values, reverse=True)
    assert len(values) == 5
    assert stopped == []
    across = calls.stub.ListTrainingJobs(
        training_pb.ListTrainingJobsRequest(name_contains="PAGES-00", max_results=100), timeout=10
    )
    assert {s.training_job_name for s in across.training_job_summaries} == {
        s.training_job_name for s in everything
    }


def test_tuning_jobs_are_listed_in_pages_sorted_and_filtered(
    calls: Calls, quadratic: Path, tmp_path: Path
) -> None:
    for name in ("list-a", "list-b", "other"):
        calls.create(create_request(name, script=quadratic, output=tmp_path / "out", jobs=1))
        calls.watch_to_end(name)

    def listed(**members: object) -> list[str]:
        request = pb.ListHyperParameterTuningJobsRequest(max_results=1, **members)  # type: ignore[arg-type]
        names: list[str] = []
        while True:
            page = calls.stub.ListHyperParameterTuningJobs(request, timeout=10)
            assert len(page.hyper_parameter_tuning_job_summaries) <= 1
            names += [
                s.hyper_parameter_tuning_job_name for s in page.hyper_parameter_tuning_job_summaries
            ]
            if not page.next_token:
                return names
            request.next_token = page.next_token

    after: Timestamp = calls.describe("list-a").creation_time
    newest_first = listed(
        sort_by=sorting_pb2.HYPER_PARAMETER_TUNING_JOB_SORT_BY_OPTIONS_CREATION_TIME,
        sort_order=sorting_pb2.SORT_ORDER_DESCENDING,
    )
    assert listed() == ["list-a", "list-b", "other"]
    assert newest_first == ["other", "list-b", "list-a"]
    assert listed(name_contains="LIST") == ["list-a", "list-b"]
    assert listed(creation_time_after=after) == ["list-b", "other"]
    assert listed(status_equals=FAILED) == []


def test_a_grid_runs_every_combination_once(calls: Calls, quadratic: Path, tmp_path: Path) -> None:
    ranges = space_pb.ParameterRanges(
        categorical_parameter_ranges=[
            jobs.categorical("x", "0.1", "0.3", "0.5"),
            jobs.categorical("y", "a", "b"),
        ]
    )
    calls.create(
        create_request(
            *("grid",),
            script=quadratic,
            output=tmp_path / "out",
            jobs=None,
            strategy=jobs.GRID,
            ranges=ranges,
        )
    )
    calls.watch_to_end("grid")
    described = calls.describe("grid")
    tried = sorted(
        (s.tuned_hyper_parameters["x"], s.tuned_hyper_parameters["y"])
        for s in calls.training_jobs("grid")
    )
    limits = described.hyper_parameter_tuning_job_config.resource_limits
    assert tried == sorted(itertools.product(("0.1", "0.3", "0.5"), ("a", "b")))
    assert limits.max_number_of_training_jobs == 6
    assert described.best_training_job.tuned_hyper_parameters["x"] == "0.3"


def test_failed_training_jobs_say_why_and_the_job_goes_on(calls: Calls, tmp_path: Path) -> None:
    script = write_script(tmp_path, jobs.FAILING)
    ranges = space_pb.ParameterRanges(
        categorical_parameter_ranges=[jobs.categorical("outcome", "bad", "good")]
    )
    calls.create(
        create_request(
            *("half",),
            script=script,
            output=tmp_path / "out",
            jobs=None,
            strategy=jobs.GRID,
            ranges=ranges,
        )
    )
    calls.watch_to_end("half")
    described = calls.describe("half")
    by_outcome = {s.tuned_hyper_parameters["outcome"]: s for s in calls.training_jobs("half")}

    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.training_job_status_counters.non_retryable_error == 1
    assert described.training_job_status_counters.completed == 1
    assert described.objective_status_counters.failed == 1
    bad = by_outcome["bad"]
    assert bad.failure_reason == "AlgorithmError: the outcome was bad"
    assert bad.objective_status == job_pb.OBJECTIVE_STATUS_FAILED
    assert described.best_training_job.training_job_name == by_outcome["good"].training_job_name


def test_a_job_without_any_success_fails_after_five_attempts(calls: Calls, tmp_path: Path) -> None:
    script = write_script(tmp_path, "raise SystemExit(1)")
    calls.create(create_request("lost", script=script, output=tmp_path / "out", jobs=50))
    calls.watch_to_end("lost")
    described = calls.describe("lost")
    assert described.hyper_parameter_tuning_job_status == FAILED
    assert described.failure_reason.startswith("No training job succeeded after 5 attempts.")
    assert len(calls.training_jobs("lost")) < 10
    assert {
        s.failure_reason for s in calls.training_jobs("lost") if s.HasField("failure_reason")
    } == {"AlgorithmError: Exit Code: 1"}


def test_a_program_that_is_not_there_fails_its_training_job_in_words(
    calls: Calls, tmp_path: Path
) -> None:
    request = create_request("gone", script=tmp_path / "x", output=tmp_path / "out", jobs=1)
    specification = request.training_job_definition.algorithm_specification
    specification.container_entrypoint[:] = ["no-such-program"]
    calls.create(request)
    calls.watch_to_end("gone")
    (summary,) = calls.training_jobs("gone")
    assert "no-such-program" in summary.failure_reason
    assert summary.failure_reason.startswith("ClientError: ")
