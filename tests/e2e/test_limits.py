"""Limits, on a real server with a real runner: quotas, and the tuning job's own time."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

import tunesmith
from tests.e2e import jobs
from tests.e2e.calls import COMPLETED, STOPPED, Calls, Refused
from tests.e2e.conftest import ServerMaker
from tests.e2e.jobs import create_request, write_script
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb

pytestmark = pytest.mark.timeout(120)


def endless(
    name: str, tmp_path: Path, *, parallel: int = 1
) -> pb.CreateHyperParameterTuningJobRequest:
    """Ask for training jobs that go on until they are told to end."""
    script = write_script(tmp_path, jobs.ENDLESS)
    return create_request(name, script=script, output=tmp_path / "out", parallel=parallel)


def test_quotas_are_of_all_tuning_jobs_together(make_server: ServerMaker, tmp_path: Path) -> None:
    config = tmp_path / "quotas.toml"
    config.write_text("[quotas]\ntuning_jobs = 2\nparallel_training_jobs = 3\n", encoding="utf-8")
    server = make_server(config=config).start()
    with Calls(server.address) as calls:
        calls.create(endless("first", tmp_path, parallel=2))
        with pytest.raises(Refused) as refused:
            calls.create(endless("wide", tmp_path, parallel=2))
        assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.value.reason == "ResourceLimitExceeded"
        assert "parallel_training_jobs" in refused.value.text
        calls.create(endless("second", tmp_path))
        with pytest.raises(Refused, match="tuning_jobs"):
            calls.create(endless("third", tmp_path))
        calls.stop("second")
        calls.watch_to_end("second")
        assert calls.describe("second").hyper_parameter_tuning_job_status == STOPPED
        calls.create(endless("third", tmp_path))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_tuning_job_ends_when_its_time_is_over(make_server: ServerMaker, tmp_path: Path) -> None:
    server = make_server().start()
    with Calls(server.address) as calls, tunesmith.connect(server.address) as client:
        request = endless("timed", tmp_path)
        limits = request.hyper_parameter_tuning_job_config.resource_limits
        limits.max_runtime_in_seconds = 120  # the least that can be asked for
        calls.create(request)
        described = client.wait("timed")
    assert described.hyper_parameter_tuning_job_status == COMPLETED
    details = described.tuning_job_completion_details
    assert details.completion_criterion == job_pb.COMPLETION_CRITERION_MAX_RUNTIME_IN_SECONDS
    assert described.training_job_status_counters.stopped == 1
    assert 120 <= described.consumed_resources.runtime_in_seconds < 130
