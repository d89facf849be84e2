"""Tuning jobs that learn: what they find, what they repeat, and the processes that compute for them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from tests.e2e import jobs
from tests.e2e.calls import COMPLETED, Calls, Event
from tests.e2e.conftest import ServerMaker
from tests.e2e.harness import ServerProcess
from tests.e2e.jobs import BAYESIAN, categorical, continuous, create_request, write_script
from tests.server.engine.compute_parts import has_ended
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import training_job_pb2
from tunesmith.v1 import tuning_service_pb2 as pb

pytestmark = pytest.mark.timeout(180)

RANGES = space_pb.ParameterRanges(
    continuous_parameter_ranges=[continuous("x")],
    categorical_parameter_ranges=[categorical("kind", "a", "b")],
)


def request(
    name: str, tmp_path: Path, *, training_jobs: int, parallel: int = 1, seed: int | None = 7
) -> pb.CreateHyperParameterTuningJobRequest:
    """Ask for a tuning job whose objective is least at x = 0.3."""
    return create_request(
        name,
        script=write_script(tmp_path, jobs.QUADRATIC),
        output=tmp_path / "out",
        jobs=training_jobs,
        parallel=parallel,
        strategy=BAYESIAN,
        ranges=RANGES,
        random_seed=seed,
    )


def workers_of(server: ServerProcess) -> list[psutil.Process]:
    """Find a server's compute workers."""
    return [
        child
        for child in psutil.Process(server.pid).children()
        if "tunesmith_server.engine.compute_worker" in child.cmdline()
    ]


def tried(calls: Calls, name: str) -> list[Mapping[str, str]]:
    """Give the configurations of a tuning job's training jobs in launch order."""
    summaries = calls.training_jobs(name)
    summaries.sort(key=lambda summary: summary.training_job_name.split("-")[-2])
    return [dict(summary.tuned_hyper_parameters) for summary in summaries]


def watch_completions(calls: Calls, name: str, count: int, *, after: int = 0) -> int:
    """Watch until so many more trials have completed; gives the last event's number."""
    for _ in range(count):
        after = calls.watch_until(name, _completed, after=after)[-1].sequence
    return after


def _completed(event: Event) -> bool:
    status = event.training_job.summary.training_job_status
    return status == training_job_pb2.TRAINING_JOB_STATUS_COMPLETED


def test_a_tuning_job_learns_and_the_server_itself_loads_no_compiler(
    server: ServerProcess, calls: Calls, tmp_path: Path
) -> None:
    calls.create(request("learns", tmp_path, training_jobs=20, parallel=2))
    calls.watch_to_end("learns")
    described = calls.describe("learns")
    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.training_job_status_counters.completed == 20
    assert described.hyper_parameter_tuning_job_config.strategy == BAYESIAN
    best = described.best_training_job.final_hyper_parameter_tuning_job_objective_metric.value
    assert best < 1e-3
    configurations = tried(calls, "learns")
    assert len({tuple(sorted(each.items())) for each in configurations}) == 20

    (worker,) = workers_of(server)
    assert _has_compiler(worker)
    assert not _has_compiler(psutil.Process(server.pid))


def _has_compiler(process: psutil.Process) -> bool:
    """Tell whether a process has mapped the compiler that numba brings along."""
    return any("llvmlite" in region.path for region in process.memory_maps())


def test_a_tuning_job_without_a_random_seed_completes(calls: Calls, tmp_path: Path) -> None:
    calls.create(request("unseeded", tmp_path, training_jobs=10, parallel=3, seed=None))
    calls.watch_to_end("unseeded")
    assert calls.describe("unseeded").training_job_status_counters.completed == 10


@pytest.mark.long
def test_with_a_random_seed_a_server_that_is_killed_goes_on_as_if_it_had_not_been(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    count = 12
    undisturbed = make_server("undisturbed").start()
    with Calls(undisturbed.address) as calls:
        calls.create(request("same", tmp_path, training_jobs=count))
        calls.watch_to_end("same")
        expected = tried(calls, "same")
    assert undisturbed.terminate() == 0

    killed = make_server("killed").start()
    after = 0
    with Calls(killed.address) as calls:
        calls.create(request("same", tmp_path, training_jobs=count))
    for _ in range(2):
        with Calls(killed.address) as calls:
            after = watch_completions(calls, "same", 4, after=after)
        killed.kill()
        killed.start()
    with Calls(killed.address) as calls:
        calls.watch_to_end("same", after=after)
        assert tried(calls, "same") == expected
    assert len(expected) == count


@pytest.mark.long
def test_a_killed_compute_worker_changes_nothing(make_server: ServerMaker, tmp_path: Path) -> None:
    found = []
    for name in ("undisturbed", "disturbed"):
        server = make_server(name).start()
        with Calls(server.address) as calls:
            calls.create(request("same", tmp_path, training_jobs=12))
            after = watch_completions(calls, "same", 7)
            if name == "disturbed":
                (worker,) = workers_of(server)
                worker.kill()
            calls.watch_to_end("same", after=after)
            assert calls.describe("same").hyper_parameter_tuning_job_status == COMPLETED
            found.append(tried(calls, "same"))
        assert server.terminate() == 0
    assert found[0] == found[1]
    assert "a compute worker ended with status -9; starting anew" in server.log_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_compute_worker_outlives_its_server(
    make_server: ServerMaker, tmp_path: Path, number: int
) -> None:
    config = tmp_path / "two.toml"
    config.write_text("[server]\ncompute_workers = 2\n", encoding="utf-8")
    server = make_server(runner=False, config=config).start()
    with Calls(server.address) as calls:
        for name in ("one", "two"):  # one on each worker
            calls.create(request(name, tmp_path, training_jobs=3))
            calls.watch_until(name, lambda event: event.HasField("training_job"))
    workers = workers_of(server)
    assert len(workers) == 2
    ends = [os.pidfd_open(worker.pid) for worker in workers]
    began = time.monotonic()
    os.kill(server.pid, number)
    assert server.wait() == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    for end in ends:
        assert has_ended(end)
    assert time.monotonic() - began < 10.0
