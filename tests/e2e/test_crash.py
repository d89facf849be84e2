"""``kill -9`` at random moments: nothing is lost, nothing is counted twice, the job goes on.

Seeded; a round's seed is in the test's id, so that a failure can be looked at again.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e import jobs
from tests.e2e.calls import CALL_S, COMPLETED, IN_PROGRESS, Calls, Event, Refused
from tests.e2e.conftest import ServerMaker
from tests.e2e.harness import ServerProcess, trial_processes
from tests.e2e.jobs import create_request, write_script
from tunesmith.v1 import training_job_pb2
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb

pytestmark = pytest.mark.timeout(180)

TRAINING_JOBS = 40
#: The job takes some seconds here; kills are spread over most of that, by events seen.
_EVENTS_BEFORE_KILL = (1, 500)

_QUICK = range(1)
_LONG = range(1, 12)
_ROUNDS = [
    *_QUICK,
    *(pytest.param(seed, marks=pytest.mark.long) for seed in _LONG),
]

Values = Mapping[tuple[str, str], list[tuple[int, float]]]


def _request(tmp_path: Path) -> pb.CreateHyperParameterTuningJobRequest:
    return create_request(
        *("crash",),
        script=write_script(tmp_path, jobs.COUNTED),
        output=tmp_path / "out",
        jobs=TRAINING_JOBS,
        parallel=4,
        metrics=("loss", "accuracy", "objective"),
        static={"ends": str(tmp_path / "ends"), "pause": "0.02"},
    )


class Watcher:
    """Watch a tuning job over any number of servers, and keep every event."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[Event] = []

    def watch(self, address: str, *, events: int | None = None) -> bool:
        """Watch until a number of further events, the end, or the server's death.

        Returns:
            Whether the tuning job has ended.
        """
        after = self.events[-1].sequence if self.events else 0
        with Calls(address) as calls:
            try:
                for count, event in enumerate(calls.watch(self.name, after=after), start=1):
                    self.events.append(event)
                    if count == events:
                        return False
            except Refused:
                return False
        return True


def _kill_after(moment_s: float, pid: int) -> threading.Timer:
    """Kill a process in the midst of whatever it does then."""
    timer = threading.Timer(moment_s, os.kill, (pid, signal.SIGKILL))
    timer.start()
    return timer


@pytest.mark.parametrize("seed", _ROUNDS)
@pytest.mark.parametrize("victim", ["server", "writer"])
def test_a_killed_server_loses_and_doubles_nothing(
    make_server: ServerMaker, tmp_path: Path, seed: int, victim: str
) -> None:
    rng = random.Random(seed)
    # Without the process that writes, the server ends as if it had been killed itself.
    status = -signal.SIGKILL if victim == "server" else os.EX_IOERR
    server, watcher = make_server().start(), Watcher("crash")
    with Calls(server.address) as calls:
        calls.create(_request(tmp_path))
    for _ in range(3):
        ended = watcher.watch(server.address, events=rng.randint(*_EVENTS_BEFORE_KILL))
        # Not between two commits, where the watcher woke up, but at any point of the next.
        pid = server.pid if victim == "server" else server.writer_pid()
        _kill_after(rng.uniform(0, 0.05), pid).join()
        assert server.wait() == status
        server.start()
        if ended:
            break
    assert watcher.watch(server.address) or watcher.watch(server.address)

    with Calls(server.address) as calls:
        described = calls.describe("crash")
        summaries = calls.training_jobs("crash")
    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.training_job_status_counters.completed == TRAINING_JOBS
    names = {summary.training_job_name for summary in summaries}
    assert len(names) == TRAINING_JOBS
    assert _ends(tmp_path) == dict.fromkeys(names, 1)
    expected = _expected(summaries)
    assert _stored(server) == expected
    assert _watched(watcher.events) == expected
    _assert_best(described, summaries)
    assert trial_processes(server.data_dir) == []


@pytest.mark.parametrize("seed", _ROUNDS)
def test_a_killed_runners_trials_fail_for_that_reason_and_the_job_goes_on(
    make_server: ServerMaker, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(1000 + seed)
    server, watcher = make_server().start(), Watcher("crash")
    with Calls(server.address) as calls:
        calls.create(_request(tmp_path))
    for _ in range(2):
        ended = watcher.watch(server.address, events=rng.randint(60, 500))
        runner = server.runner_pid()
        if not ended and runner is not None:
            _kill_after(rng.uniform(0, 0.05), runner).join()
    watcher.watch(server.address)

    with Calls(server.address) as calls:
        described = calls.describe("crash")
        summaries = calls.training_jobs("crash")
    counters = described.training_job_status_counters
    lost = [s for s in summaries if s.HasField("failure_reason")]
    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert len(summaries) == TRAINING_JOBS
    assert counters.completed + counters.retryable_error == TRAINING_JOBS
    assert counters.retryable_error == len(lost)
    assert 1 <= len(lost) <= 8
    for summary in lost:
        assert summary.failure_reason.startswith("InternalServerError: the runner ")
        assert summary.failure_reason.endswith(" was restarted")
    completed = [s for s in summaries if not s.HasField("failure_reason")]
    ends = _ends(tmp_path)
    assert max(ends.values()) == 1
    assert {s.training_job_name for s in completed} <= set(ends)
    expected = _expected(completed)
    stored, watched = _stored(server), _watched(watcher.events)
    assert {key: stored[key] for key in expected} == expected
    assert {key: watched[key] for key in expected} == expected
    _assert_best(described, completed)
    assert trial_processes(server.data_dir) == []


def test_server_and_runner_killed_together_leave_no_process_and_the_job_goes_on(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    server, watcher = make_server().start(), Watcher("crash")
    with Calls(server.address) as calls:
        calls.create(_request(tmp_path))
    watcher.watch(server.address, events=150)
    runner = server.runner_pid()
    assert runner is not None
    os.kill(runner, signal.SIGKILL)
    server.kill()
    server.start()
    watcher.watch(server.address)
    with Calls(server.address) as calls:
        counters = calls.describe("crash").training_job_status_counters
    assert counters.completed + counters.retryable_error == TRAINING_JOBS
    assert counters.retryable_error <= 4
    assert trial_processes(server.data_dir) == []


@pytest.mark.parametrize("seed", _ROUNDS)
def test_a_create_that_was_answered_survives_and_one_that_was_not_can_be_repeated(
    make_server: ServerMaker, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(2000 + seed)
    server = make_server(runner=False).start()
    script = tmp_path / "never-run.py"
    answered: list[str] = []
    with Calls(server.address) as calls:
        killing = _kill_after(rng.uniform(0.05, 0.5), server.pid)
        while True:
            name = f"job-{len(answered)}"
            request = create_request(name, script=script, output=tmp_path / "out")
            try:
                calls.create(request, request_id=f"key-{name}")
            except Refused:
                break
            answered.append(name)
        killing.join()
    server.wait()
    server.start()
    with Calls(server.address) as calls:
        for known in answered:
            assert calls.describe(known).hyper_parameter_tuning_job_status == IN_PROGRESS
        arn = calls.create(request, request_id=f"key-{name}")
        assert calls.describe(name).hyper_parameter_tuning_job_arn == arn
        listed = calls.stub.ListHyperParameterTuningJobs(
            pb.ListHyperParameterTuningJobsRequest(max_results=100, name_contains="job"),
            timeout=CALL_S,
        )
    names = {s.hyper_parameter_tuning_job_name for s in listed.hyper_parameter_tuning_job_summaries}
    assert names <= {*answered, name}
    assert len(answered) >= 1


def _ends(tmp_path: Path) -> dict[str, int]:
    """Count how often each training job ran to its end."""
    return dict(Counter((tmp_path / "ends").read_text(encoding="utf-8").split()))


def _expected(summaries: list[job_pb.HyperParameterTrainingJobSummary]) -> Values:
    """Say what each training job's script wrote: see ``jobs.COUNTED``."""
    values: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for summary in summaries:
        x, name = float(summary.tuned_hyper_parameters["x"]), summary.training_job_name
        steps = range(1, 6)
        values[name, "loss"] = [(step, x + step) for step in steps]
        values[name, "accuracy"] = [(step, x - step) for step in steps]
        values[name, "objective"] = [(step, x * step) for step in steps]
    return values


def _stored(server: ServerProcess) -> Values:
    """Read the measurements from the database itself."""
    values: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    with closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as database:
        rows: Iterator[tuple[str, str, int, float]] = database.execute(
            "SELECT name, metric_name, step, value FROM measurements"
            " JOIN training_jobs USING (training_job_id)"
            " ORDER BY training_job_id, measurements.lease_token, sequence"
        )
        for name, metric, step, value in rows:
            values[name, metric].append((step, value))
    return dict(values)


def _watched(events: list[Event]) -> Values:
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))
    values: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for event in events:
        if event.HasField("metric"):
            metric = event.metric
            values[metric.training_job_name, metric.metric_name].append((metric.step, metric.value))
    return dict(values)


def _assert_best(
    described: pb.DescribeHyperParameterTuningJobResponse,
    completed: list[job_pb.HyperParameterTrainingJobSummary],
) -> None:
    objectives = [s.final_hyper_parameter_tuning_job_objective_metric.value for s in completed]
    best = described.best_training_job
    assert best.training_job_status == training_job_pb2.TRAINING_JOB_STATUS_COMPLETED
    assert best.final_hyper_parameter_tuning_job_objective_metric.value == min(objectives)
