"""Trials that callers run, on a real server: single calls, the stream, the Python client, kill -9."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

import tunesmith
from tests.e2e.calls import CALL_S, Calls, Refused, refusing
from tests.e2e.conftest import ServerMaker
from tunesmith.trials import AsyncTrials
from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1 import suggestion_service_pb2_grpc
from tunesmith.v1.tuning_job_pb2 import HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED

pytestmark = pytest.mark.timeout(120)

_RANGES: Final = {
    "ContinuousParameterRanges": [
        {"Name": "rate", "MinValue": "1e-5", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    ],
    "IntegerParameterRanges": [{"Name": "depth", "MinValue": "1", "MaxValue": "9"}],
    "CategoricalParameterRanges": [{"Name": "kind", "Values": ["tree", "linear"]}],
}


def request(
    name: str, *, strategy: str = "Random", jobs: int = 8, parallel: int = 4, **more: Any
) -> dict[str, Any]:
    """Ask for a tuning job whose trials the caller runs."""
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": jobs,
                "MaxParallelTrainingJobs": parallel,
            },
            "ParameterRanges": _RANGES,
        },
        **more,
    }


class Stream:
    """Make calls over one ``Trials`` stream, and sort the answers by call."""

    def __init__(self, stub: suggestion_service_pb2_grpc.SuggestionServiceStub) -> None:
        self._requests: queue.SimpleQueue[pb.TrialsRequest | None] = queue.SimpleQueue()
        self._answers = stub.Trials(iter(self._requests.get, None), timeout=CALL_S)
        self._early: dict[int, pb.TrialsResponse] = {}

    def send(self, request: pb.TrialsRequest) -> None:
        self._requests.put(request)

    def answer(self, call_id: int) -> pb.TrialsResponse:
        while call_id not in self._early:
            answer = next(self._answers)
            self._early[answer.call_id] = answer
        return self._early.pop(call_id)

    def close(self) -> None:
        self._requests.put(None)
        assert list(self._answers) == []


def _ask(name: str, client: str, count: int = 1) -> pb.SuggestRequest:
    return pb.SuggestRequest(hyper_parameter_tuning_job_name=name, client_id=client, count=count)


def _completed(trial: pb.SuggestedTrial, value: float) -> pb.CompleteTrialRequest:
    return pb.CompleteTrialRequest(
        training_job_name=trial.training_job_name, lease_token=trial.lease_token, value=value
    )


@pytest.fixture
def served(make_server: ServerMaker) -> Iterator[tuple[Calls, tunesmith.Client]]:
    server = make_server(runner=False).start()
    with Calls(server.address) as calls, tunesmith.connect(server.address) as client:
        yield calls, client


def test_parameters_come_in_their_types(served: tuple[Calls, tunesmith.Client]) -> None:
    calls, client = served
    client.create(request("typed"))
    stub = suggestion_service_pb2_grpc.SuggestionServiceStub(calls.channel)
    (trial,) = stub.Suggest(_ask("typed", "a"), timeout=CALL_S).trials
    kinds = {each.name: each.WhichOneof("value") for each in trial.parameters}
    assert kinds == {"rate": "double_value", "depth": "int64_value", "kind": "string_value"}
    shown = client.describe_training_job(trial.training_job_name)
    for each in trial.parameters:
        assert shown.hyper_parameters[each.name] == each.text
    assert trial.lease_duration.seconds == 3600
    assert client.describe("typed").trial_lease_config.lease_duration_in_seconds == 3600


def test_the_stream_carries_all_three_calls(served: tuple[Calls, tunesmith.Client]) -> None:
    calls, client = served
    client.create(request("stream", jobs=2, parallel=1))
    stream = Stream(suggestion_service_pb2_grpc.SuggestionServiceStub(calls.channel))
    waits = _ask("stream", "b")
    waits.max_wait.FromSeconds(20)
    stream.send(pb.TrialsRequest(call_id=1, suggest=_ask("stream", "a")))
    (trial,) = stream.answer(1).suggest.trials
    stream.send(pb.TrialsRequest(call_id=2, suggest=waits))  # and holds up nothing
    report = pb.ReportMetricsRequest(
        training_job_name=trial.training_job_name,
        lease_token=trial.lease_token,
        step=3,
        values={"loss": 0.5, "accuracy": 0.75},
    )
    stream.send(pb.TrialsRequest(call_id=3, report_metrics=report))
    assert stream.answer(3).report_metrics == pb.ReportMetricsResponse(should_stop=False)
    done = pb.TrialsRequest(call_id=4, complete_trial=_completed(trial, 0.5), request_id="once")
    stream.send(done)
    assert stream.answer(4).HasField("complete_trial")
    done.call_id = 5
    stream.send(done)
    assert stream.answer(5).HasField("complete_trial"), "a repeat is answered like the first"
    stream.send(pb.TrialsRequest(call_id=6, complete_trial=_completed(trial, 0.25)))
    error = stream.answer(6).error
    assert (error.code, error.reason) == (6, "ConflictException")
    (second,) = stream.answer(2).suggest.trials
    stream.send(pb.TrialsRequest(call_id=7))
    assert stream.answer(7).error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    stream.send(pb.TrialsRequest(call_id=8, complete_trial=_completed(second, 0.75)))
    stream.answer(8)
    stream.close()
    described = client.describe("stream")
    assert (
        described.hyper_parameter_tuning_job_status == HYPER_PARAMETER_TUNING_JOB_STATUS_COMPLETED
    )
    assert described.best_training_job.training_job_name == trial.training_job_name


def test_bytes_that_are_no_call_end_the_stream_in_words(
    served: tuple[Calls, tunesmith.Client],
) -> None:
    calls, _ = served
    both = calls.channel.stream_stream(
        "/tunesmith.v1.SuggestionService/Trials",
        request_serializer=bytes,
        response_deserializer=pb.TrialsResponse.FromString,
    )
    good = pb.TrialsRequest(call_id=1, suggest=_ask("none", "a")).SerializeToString()
    answers = both(iter([good, b"\xff" * 40]), timeout=CALL_S)
    with pytest.raises(Refused) as refused:
        refusing(lambda: [answer.error.code for answer in answers])
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.reason == "SerializationException"


@pytest.mark.parametrize("strategy", ["Random", "Bayesian"])
def test_a_loop_in_python_with_workers(
    served: tuple[Calls, tunesmith.Client], strategy: str
) -> None:
    _, client = served
    job = client.create(request("loop", strategy=strategy, jobs=12))
    devices: set[str] = set()

    def run(trial: tunesmith.JobTrial) -> None:
        devices.add(job.describe().suggestion_device)
        rate = trial.parameters["rate"]
        assert isinstance(rate, float)
        for epoch in range(3):
            assert trial.report({"loss": rate + epoch}) is False
        if trial.parameters["kind"] == "linear":
            trial.complete(infeasible="it takes too much memory")
        else:
            trial.complete(rate)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(run, trial) for trial in job.trials(workers=4)]
    assert len([each.result() for each in done]) == 12
    described = job.describe()
    assert described.training_job_status_counters.completed == 12
    assert described.objective_status_counters.failed > 0
    best = described.best_training_job
    assert best.tuned_hyper_parameters["kind"] == "tree"
    assert devices == {"cpu" if strategy == "Bayesian" else ""}


def test_more_workers_than_places_do_not_ask_without_end(
    served: tuple[Calls, tunesmith.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served
    job = client.create(request("few-places", jobs=6, parallel=2))
    asked = 0
    real = AsyncTrials._ask

    async def counted(self: AsyncTrials) -> pb.SuggestResponse:
        nonlocal asked
        asked += 1
        return await real(self)

    monkeypatch.setattr(AsyncTrials, "_ask", counted)
    trials = job.trials(workers=4)
    held = [next(trials), next(trials)]
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(next, trials)
        with pytest.raises(TimeoutError):
            third.result(timeout=0.5)
        held[0].complete(1.0)
        held.append(third.result(timeout=CALL_S))
    assert asked == 3
    assert len({trial.name for trial in held}) == 3


def test_two_workers_of_the_example_share_a_tuning_job(
    served: tuple[Calls, tunesmith.Client],
) -> None:
    _, client = served
    worker = Path(__file__).parents[2] / "examples" / "callers" / "worker.py"
    command = [sys.executable, str(worker), "--server", client.address, "--workers", "2"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        said = [process.communicate(timeout=90)[0] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert said[0].startswith("callers-0")
    described = client.describe("callers")
    assert described.training_job_status_counters.completed == 30


def test_misuse_in_python_is_told_in_words(served: tuple[Calls, tunesmith.Client]) -> None:
    _, client = served
    job = client.create(request("misuse"))
    trial = next(job.trials())
    with pytest.raises(TypeError, match="exactly one of value, failed and infeasible"):
        trial.complete()
    with pytest.raises(TypeError, match="exactly one of value, failed and infeasible"):
        trial.complete(1.0, failed="both")
    trial.complete(failed="it broke" * 1000)
    with pytest.raises(tunesmith.AlreadyCompleted):
        trial.complete(1.0)
    with pytest.raises(ValueError, match="workers is 0; it must be at least 1"):
        job.trials(workers=0)
    with pytest.raises(tunesmith.ResourceNotFound):
        next(client.job("no-such-job").trials())


def test_a_block_that_raises_fails_its_trial(served: tuple[Calls, tunesmith.Client]) -> None:
    calls, client = served
    job = client.create(request("raises", jobs=2, parallel=1))
    trials = job.trials()
    with pytest.raises(ZeroDivisionError), next(trials):
        raise ZeroDivisionError("division by zero")
    with next(trials) as trial:
        trial.complete(0.5)
    assert list(trials) == []
    first, second = sorted(calls.training_jobs("raises"), key=lambda each: each.training_job_name)
    assert first.failure_reason == "AlgorithmError: ZeroDivisionError: division by zero"
    assert second.final_hyper_parameter_tuning_job_objective_metric.value == 0.5


def test_a_client_that_comes_back_goes_on_with_its_trial(
    served: tuple[Calls, tunesmith.Client],
) -> None:
    calls, client = served
    job = client.create(request("back"))
    first = next(job.trials(client_id="worker-1"))
    first.report({"loss": 0.5})
    with tunesmith.connect(client.address) as other:
        again = next(other.job("back").trials(client_id="worker-1"))
        assert (again.name, again.parameters) == (first.name, first.parameters)
        again.complete(0.25)
    assert calls.training_job(first.name).final_metric_data_list[0].value == 0.25


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(1, marks=pytest.mark.timeout(180)),
        pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_nothing_acknowledged_is_lost_by_kills_under_load(
    make_server: ServerMaker, kills: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # The same one after each restart: its clients come back by themselves.
    server = make_server(runner=False, arguments=("--grpc", f"127.0.0.1:{port}")).start()
    jobs, workers, between = 8, 8, 12
    acknowledged: dict[str, float] = {}
    progress, over = threading.Condition(), threading.Event()

    def work(client: tunesmith.Client, number: int) -> None:
        trials = client.job(f"killed-{number % jobs}").trials(client_id=f"worker-{number}")
        for trial in trials:
            value = trial.parameters["rate"]
            assert isinstance(value, float)
            trial.complete(value)
            with progress:
                assert trial.name not in acknowledged, "no trial is handed out twice"
                acknowledged[trial.name] = value
                progress.notify_all()
            if over.is_set():
                return

    with (
        tunesmith.connect(server.address) as client,
        ThreadPoolExecutor(workers) as pool,
    ):
        for number in range(jobs):
            client.create(request(f"killed-{number}", jobs=750, parallel=workers))
        working = [pool.submit(work, client, number) for number in range(workers)]
        try:
            for _ in range(kills):
                with progress:
                    goal = len(acknowledged) + between
                    while len(acknowledged) < goal:
                        assert progress.wait(60), "the load goes on"
                server.kill()
                server.start()
        finally:
            over.set()
        for each in working:
            each.result()
        found = {
            trial.training_job_name: trial.final_hyper_parameter_tuning_job_objective_metric.value
            for number in range(jobs)
            for trial in client.training_jobs(f"killed-{number}")
            if trial.HasField("final_hyper_parameter_tuning_job_objective_metric")
        }
    assert len(acknowledged) >= kills * between
    assert found == acknowledged
