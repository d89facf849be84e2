"""Ask and tell under load: how long a suggestion takes, and how many trials a second there are.

One server without runners, and its callers in a process of their own, on the loopback:

- *ready*: one caller, one call after the other, unary; the tuning job has 200 results in 10
  dimensions, and the suggestion was computed while nobody waited. Beside an empty health check.
- *trials*: 64 callers of 16 tuning jobs, each on a `Trials` stream of its own: ask, complete, ask.
  Beside the same streams with calls that store nothing and decide nothing (a lease's renewal).
- *metrics*: one stream, reports of 40 values each, up to 50 of them under way.
- *crowd*: 1,000 open tuning jobs with 10 trials each that nobody completes, and the memory of it.

    .venv/bin/python -m benchmarks.suggestions [--only ready,trials,metrics,crowd] [--seconds 8]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import psutil
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.shared.report import save
from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1 import suggestion_service_pb2_grpc, tuning_job_pb2, tuning_service_pb2_grpc
from tunesmith.v1 import tuning_service_pb2 as tuning_pb
from tunesmith_server.cli.embedded import embedded_server

WORKERS: Final = 64
JOBS: Final = 16
DIMENSIONS: Final = 10
#: Observations of a tuning job in `trials`, at most.
MOST_RESULTS: Final = 500
_RESULTS: Final = 200
_CALLS: Final = 400
#: A suggestion is ready after this long without a call, even when the model is fitted for it.
_READY_S: Final = 0.25
_BATCH: Final = 40
_UNDER_WAY: Final = 50
_CROWD: Final = 1000
_EACH: Final = 10
_ECHO: Final = "echo"
#: The compute worker compiles for the first seconds, which is not what is measured.
_WARM_S: Final = 6.0

_names = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Hold one line of the table: what, and its figures in words."""

    name: str
    figures: dict[str, float]


class Stub:
    """Hold the stubs of one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # The stubs' classes are typed for blocking channels.
        self.tuning: Any = tuning_service_pb2_grpc.TuningServiceStub(channel)
        self.suggestions: Any = suggestion_service_pb2_grpc.SuggestionServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    async def create(self, strategy: str, *, jobs: int, parallel: int) -> str:
        """Make a tuning job without a seed, and give its name."""
        name = f"bench-{next(_names)}"
        request = tuning_pb.CreateHyperParameterTuningJobRequest(
            hyper_parameter_tuning_job_name=name
        )
        config = request.hyper_parameter_tuning_job_config
        config.strategy = tuning_job_pb2.HyperParameterTuningJobStrategyType.Value(
            f"HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_{strategy.upper()}"
        )
        objective = config.hyper_parameter_tuning_job_objective
        objective.type = tuning_job_pb2.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MINIMIZE
        objective.metric_name = "loss"
        config.resource_limits.max_number_of_training_jobs = jobs
        config.resource_limits.max_parallel_training_jobs = parallel
        for number in range(DIMENSIONS):
            config.parameter_ranges.continuous_parameter_ranges.add(
                name=f"x{number}", min_value="0", max_value="1"
            )
        await self.tuning.CreateHyperParameterTuningJob(request)
        return name


class Stream:
    """Make calls on one ``Trials`` stream."""

    def __init__(self, stub: Stub) -> None:
        self._call: grpc.aio.StreamStreamCall[pb.TrialsRequest, pb.TrialsResponse]
        self._call = stub.suggestions.Trials()
        self._ids = itertools.count(1)
        self._writing = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[pb.TrialsResponse]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for answer in self._call:
            self._waiting.pop(answer.call_id).set_result(answer)

    async def call(self, **named: Any) -> pb.TrialsResponse:
        """Make a call, and wait for its answer."""
        request = pb.TrialsRequest(call_id=next(self._ids), **named)
        waiting = self._waiting[request.call_id] = asyncio.get_running_loop().create_future()
        async with self._writing:  # gRPC takes one message at a time
            await self._call.write(request)
        answer: pb.TrialsResponse = await waiting
        if answer.HasField("error"):
            raise RuntimeError(f"{answer.error.reason}: {answer.error.message}")
        return answer

    async def close(self) -> None:
        """End the stream."""
        await self._call.done_writing()
        await self._reading


def loss(trial: pb.SuggestedTrial) -> float:
    """Give a smooth objective."""
    return sum((each.double_value - 0.3) ** 2 for each in trial.parameters)


def completed(trial: pb.SuggestedTrial) -> pb.CompleteTrialRequest:
    """Complete a trial with its objective."""
    return pb.CompleteTrialRequest(
        training_job_name=trial.training_job_name,
        lease_token=trial.lease_token,
        value=loss(trial),
    )


async def ready(stub: Stub, _seconds: float) -> list[Line]:
    """Time unary asks of suggestions that are ready."""
    name = await stub.create("Bayesian", jobs=750, parallel=10)
    ask = pb.SuggestRequest(hyper_parameter_tuning_job_name=name, client_id="bench")
    asks, completes, echoes = [], [], []
    for number in range(_RESULTS + _CALLS):
        if number >= _RESULTS:
            await asyncio.sleep(_READY_S)
            echoes.append(await _timed(stub.health.Check(health_pb2.HealthCheckRequest())))
        began = time.perf_counter()
        (trial,) = (await stub.suggestions.Suggest(ask)).trials
        took = time.perf_counter() - began
        done = await _timed(stub.suggestions.CompleteTrial(completed(trial)))
        if number >= _RESULTS:
            asks.append(took)
            completes.append(done)
    echo = statistics.median(echoes)
    return [
        _latencies("health check, the reference", echoes, echo),
        _latencies("Suggest, ready, n = 200 to 600", asks, echo),
        _latencies("CompleteTrial", completes, echo),
    ]


async def trials(stub: Stub, seconds: float) -> list[Line]:
    """Count trials a second, and calls that do nothing."""
    lines = []
    for strategy in (_ECHO, "Random", "Bayesian"):
        counted = await count_trials(stub, strategy, seconds)
        figures = {"trials/s": counted / seconds, "results a job": counted / JOBS}
        lines.append(Line(name=f"{WORKERS} callers, {JOBS} jobs, {strategy}", figures=figures))
    return lines


async def count_trials(stub: Stub, strategy: str, seconds: float) -> int:
    """Count what callers get done, each on a stream of its own, four for each tuning job.

    Args:
        stub: The server.
        strategy: Of the tuning jobs; the word for calls that do nothing is one of its own.
        seconds: For so long.
    """
    is_echo = strategy == _ECHO
    names = [
        await stub.create("Random" if is_echo else strategy, jobs=750, parallel=8)
        for _ in range(JOBS)
    ]
    streams = [Stream(stub) for _ in range(WORKERS)]
    work = _renewing if is_echo else _asking
    counted = await _for(
        seconds,
        [
            work(stream, names[number % JOBS], f"worker-{number}")
            for number, stream in enumerate(streams)
        ],
    )
    for stream in streams:
        await stream.close()
    return counted


async def _asking(stream: Stream, name: str, client: str) -> AsyncIterator[None]:
    ask = pb.SuggestRequest(hyper_parameter_tuning_job_name=name, client_id=client)
    ask.max_wait.FromSeconds(5)
    while True:
        answer = (await stream.call(suggest=ask)).suggest
        for trial in answer.trials:
            await stream.call(complete_trial=completed(trial))
            yield
        if not answer.trials:
            return


async def _renewing(stream: Stream, name: str, client: str) -> AsyncIterator[None]:
    """Make two calls for each trial that there would be."""
    ask = pb.SuggestRequest(hyper_parameter_tuning_job_name=name, client_id=client)
    (trial,) = (await stream.call(suggest=ask)).suggest.trials
    renew = pb.ReportMetricsRequest(
        training_job_name=trial.training_job_name, lease_token=trial.lease_token
    )
    while True:
        await stream.call(report_metrics=renew)
        await stream.call(report_metrics=renew)
        yield


async def metrics(stub: Stub, seconds: float) -> list[Line]:
    """Count metric values a second."""
    name = await stub.create("Random", jobs=4, parallel=4)
    stream = Stream(stub)
    ask = pb.SuggestRequest(hyper_parameter_tuning_job_name=name, client_id="bench")
    (trial,) = (await stream.call(suggest=ask)).suggest.trials
    steps = itertools.count(1)

    async def report() -> AsyncIterator[None]:
        while True:
            values = {f"metric{number}": 0.5 for number in range(_BATCH)}
            request = pb.ReportMetricsRequest(
                training_job_name=trial.training_job_name,
                lease_token=trial.lease_token,
                step=next(steps),
                values=values,
            )
            await stream.call(report_metrics=request)
            yield

    counted = await _for(seconds, [report() for _ in range(_UNDER_WAY)])
    await stream.close()
    return [Line(name="ReportMetrics", figures={"values/s": counted * _BATCH / seconds})]


async def crowd(stub: Stub, _seconds: float) -> list[Line]:
    """Open many tuning jobs with trials that nobody completes, and ask once more."""
    process = next(p for p in psutil.Process().children() if "serve" in p.cmdline())
    before = process.memory_info().rss
    began = time.perf_counter()
    gate = asyncio.Semaphore(32)

    async def open_one() -> None:
        async with gate:
            name = await stub.create("Random", jobs=100, parallel=_EACH)
            ask = pb.SuggestRequest(
                hyper_parameter_tuning_job_name=name, client_id="bench", count=_EACH
            )
            answer = await stub.suggestions.Suggest(ask)
            if len(answer.trials) != _EACH:
                raise RuntimeError(f"{name} gave {len(answer.trials)} trials")

    await asyncio.gather(*(open_one() for _ in range(_CROWD)))
    took = time.perf_counter() - began
    grown = process.memory_info().rss - before
    name = await stub.create("Random", jobs=100, parallel=_EACH)
    ask = pb.SuggestRequest(hyper_parameter_tuning_job_name=name, client_id="bench")
    one = await _timed(stub.suggestions.Suggest(ask))
    return [
        Line(
            name=f"{_CROWD} open jobs, {_CROWD * _EACH} pending trials",
            figures={
                "s to open all": took,
                "MiB more": grown / 2**20,
                "KiB a trial": grown / 1024 / _CROWD / _EACH,
                "ms for one more job's first trial": one * 1e3,
            },
        )
    ]


PARTS: Final[dict[str, Callable[[Stub, float], Awaitable[list[Line]]]]] = {
    "ready": ready,
    "trials": trials,
    "metrics": metrics,
    "crowd": crowd,
}


async def _timed(call: Awaitable[object]) -> float:
    began = time.perf_counter()
    await call
    return time.perf_counter() - began


async def _for(seconds: float, workers: Sequence[AsyncIterator[None]]) -> int:
    """Let workers go round for so long, and count the rounds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    counted = 0

    async def go(worker: AsyncIterator[None]) -> None:
        nonlocal counted
        async for _ in worker:
            if loop.time() >= end:
                return
            counted += 1

    await asyncio.gather(*(go(worker) for worker in workers))
    return counted


def _latencies(name: str, seconds: Sequence[float], echo: float) -> Line:
    percentiles = statistics.quantiles(seconds, n=100)
    return Line(
        name=name,
        figures={
            "p50 ms": percentiles[49] * 1e3,
            "p99 ms": percentiles[98] * 1e3,
            "p50 x echo": percentiles[49] / echo,
        },
    )


@asynccontextmanager
async def server(folder: Path, *, warm_s: float = _WARM_S) -> AsyncIterator[Stub]:
    """Run a server without runners, and give it some seconds to get warm."""
    config = folder / "tunesmith.toml"
    config.write_text("[server]\nrunner = false\n", encoding="utf-8")
    with embedded_server(config=config, data_dir=folder / "data", may_move=False) as embedded:
        options = [("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(embedded.address, options=options) as channel:
            await asyncio.sleep(warm_s)
            yield Stub(channel)


async def measure(parts: Sequence[str], seconds: float) -> list[Line]:
    """Measure, each part on a server of its own."""
    lines = []
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            async with server(Path(folder)) as stub:
                lines += await PARTS[part](stub, seconds)
    return lines


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each count, at most 60")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/suggestions.json"))
    arguments = parser.parse_args()
    lines = uvloop.run(measure(arguments.only.split(","), min(arguments.seconds, 60.0)))
    for line in lines:
        figures = ", ".join(f"{value:.2f} {name}" for name, value in line.figures.items())
        print(f"{line.name}: {figures}")
    save(arguments.json, lines={line.name: line.figures for line in lines})


if __name__ == "__main__":
    main()
