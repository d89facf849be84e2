"""Hyperband with checkpoints: real programs rest at rungs, and go on where they were."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.e2e import jobs
from tests.e2e.calls import COMPLETED, Calls
from tests.e2e.harness import ServerProcess
from tests.e2e.jobs import create_request, write_script
from tunesmith import connect
from tunesmith.v1 import stopping_verdict_pb2, training_job_pb2
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith_server.cli.job_curves import job_record

pytestmark = pytest.mark.timeout(180)

TRAINING_COMPLETED = training_job_pb2.TRAINING_JOB_STATUS_COMPLETED
TRAINING_STOPPED = training_job_pb2.TRAINING_JOB_STATUS_STOPPED
INTERRUPTED = training_job_pb2.SECONDARY_STATUS_INTERRUPTED


def test_the_best_trial_of_a_rung_goes_on_from_its_checkpoint(
    calls: Calls, server: ServerProcess, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    request = create_request(
        "resting",
        script=write_script(tmp_path, jobs.RESTING),
        output=tmp_path / "out",
        jobs=5,
        parallel=2,
        static={"starts": str(tmp_path / "starts"), "epochs": "6"},
    )
    config = request.hyper_parameter_tuning_job_config
    config.strategy = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_HYPERBAND
    config.strategy_config.hyperband_strategy_config.min_resource = 2
    request.training_job_definition.checkpoint_config.s3_uri = kept.as_uri()
    calls.create(request)
    events = calls.watch_to_end("resting")
    described = calls.describe("resting")

    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.training_job_status_counters.completed == 1
    assert described.training_job_status_counters.stopped == 4
    first = (tmp_path / "starts").read_text().split()[0]
    best = described.best_training_job
    assert (best.training_job_name, best.training_job_status) == (first, TRAINING_COMPLETED)

    lines = [
        line
        for event in events
        if event.log.training_job_name == first
        for line in event.log.lines
        if line.startswith(("begin", "asked"))
    ]
    assert lines[:2] == ["begin 0", "asked to end"]
    begun = [int(line.split()[1]) for line in lines if line.startswith("begin")]
    assert len(begun) == 2, "it was paused at its only rung, and went on once"
    assert begun[1] >= 2, "from its checkpoint"
    values = [
        (event.metric.step, event.metric.value)
        for event in events
        if event.metric.training_job_name == first
    ]
    assert values[-1][1] == 1 + 1 / 6
    assert [step for step, _ in values] == list(range(1, len(values) + 1))
    assert (kept / first / "epoch").read_text() == "6"

    told = calls.training_job(first).secondary_status_transitions
    (rest,) = [each for each in told if each.status == INTERRUPTED]
    assert rest.status_message.startswith("Paused at rung 1, resource 2: its objective, 1.5, was ")
    for summary in calls.training_jobs("resting"):
        verdict = summary.stopping_verdict
        if summary.training_job_name == first:
            assert not summary.HasField("stopping_verdict")
            continue
        assert summary.training_job_status == TRAINING_STOPPED
        assert verdict.rule == stopping_verdict_pb2.STOPPING_RULE_PAUSED
        assert (verdict.rung, verdict.resource) == (1, 2)
        place = (tmp_path / "starts").read_text().split().index(summary.training_job_name) + 1
        assert verdict.value == place + 1 / 2
        assert summary.HasField("final_hyper_parameter_tuning_job_objective_metric")
        rested = calls.training_job(summary.training_job_name)
        assert rested.HasField("training_start_time")
        ran_s = rested.training_time_in_seconds
        assert ran_s == max(1, math.ceil(summary.training_time_in_seconds))
        since = rested.training_end_time.ToDatetime() - rested.training_start_time.ToDatetime()
        assert 1 <= ran_s <= since.total_seconds() + 1
    running_s_is_replayed(calls, server, first, emitted=len(values))


def running_s_is_replayed(calls: Calls, server: ServerProcess, first: str, *, emitted: int) -> None:
    """Check that a replay goes by the time that programs ran, and not by that of a clock."""
    with connect(server.address) as client:
        record = job_record(client, "resting", metric=None)
    ended = {each.training_job_name: each for each in calls.training_jobs("resting")}
    for curve in record.curves:
        ran_s = ended[curve.trial].training_time_in_seconds
        assert curve.running_s[-1] == pytest.approx(ran_s, abs=1e-3)
        assert ran_s <= curve.lasted_s
        if curve.trial == first:
            assert len(curve.running_s) == emitted + 1
            assert curve.running_s[-2] >= (emitted - 2) * 0.5, "over both attempts"
    assert (record.min_resource, {curve.full for curve in record.curves}) == (2, {6})
