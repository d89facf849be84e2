"""How long a unary call takes, next to a call that does nothing.

One caller on one connection to a whole server without runners, one call after the other: what a
script sees that tunes a job. Describe reads; Create checks a request, makes a tuning job durable
and starts it. The reference is an empty health check of the same server: what gRPC, the event loop
and the loopback cost by themselves.

    python -m benchmarks.rpc [--calls N] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from benchmarks.shared.report import save
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith.v1 import tuning_service_pb2_grpc
from tunesmith_server.cli.embedded import embedded_server

#: Calls before those that count: connections, caches and lazy imports.
WARM_UP = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold one line of the table.

    Attributes:
        name: What was measured.
        count: How often.
        p50_s: Median latency.
        p99_s: 99th percentile.
        ratio: ``p50_s`` over that of the reference.
    """

    name: str
    count: int
    p50_s: float
    p99_s: float
    ratio: float = 1.0


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=500, help="for each line")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/rpc.json"))
    arguments = parser.parse_args()
    lines = measure(arguments.calls)
    print(f"{'':40}{'p50 ms':>10}{'p99 ms':>10}{'x health':>10}")
    for line in lines:
        print(
            f"{line.name:40}{line.p50_s * 1e3:>10.2f}{line.p99_s * 1e3:>10.2f}{line.ratio:>10.1f}"
        )
    save(arguments.json, grpc=grpc.__version__, lines=[asdict(line) for line in lines])


def measure(calls: int) -> list[Measured]:
    """Measure the reference, then the calls."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "tunesmith.toml"
        config.write_text("[server]\nrunner = false\n", encoding="utf-8")
        with (
            embedded_server(
                config=config, data_dir=Path(folder) / "data", may_move=False
            ) as server,
            grpc.insecure_channel(server.address, [("grpc.enable_http_proxy", 0)]) as channel,
        ):
            reference, *lines = [
                timed(name, call, calls) for name, call in calls_of(channel, Path(folder))
            ]
    return [reference, *(replace(line, ratio=line.p50_s / reference.p50_s) for line in lines)]


def calls_of(channel: grpc.Channel, folder: Path) -> Iterator[tuple[str, Callable[[int], object]]]:
    """Give the calls to measure, each taking its number; the reference comes first."""
    health = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    yield "health check", lambda _: health(health_pb2.HealthCheckRequest())
    tuning = tuning_service_pb2_grpc.TuningServiceStub(channel)
    tuning.CreateHyperParameterTuningJob(create_request("described", folder))
    describe = pb.DescribeHyperParameterTuningJobRequest(
        hyper_parameter_tuning_job_name="described"
    )
    yield (
        "DescribeHyperParameterTuningJob",
        lambda _: tuning.DescribeHyperParameterTuningJob(describe),
    )
    yield (
        "CreateHyperParameterTuningJob",
        lambda number: tuning.CreateHyperParameterTuningJob(
            create_request(f"job-{number}", folder)
        ),
    )


def create_request(name: str, folder: Path) -> pb.CreateHyperParameterTuningJobRequest:
    """Make a request with one range of each kind."""
    request = pb.CreateHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name)
    config = request.hyper_parameter_tuning_job_config
    config.strategy = job_pb.HYPER_PARAMETER_TUNING_JOB_STRATEGY_TYPE_RANDOM
    objective = config.hyper_parameter_tuning_job_objective
    objective.type = job_pb.HYPER_PARAMETER_TUNING_JOB_OBJECTIVE_TYPE_MINIMIZE
    objective.metric_name = "loss"
    config.resource_limits.max_number_of_training_jobs = 24
    config.resource_limits.max_parallel_training_jobs = 2
    ranges = config.parameter_ranges
    ranges.continuous_parameter_ranges.add(name="lr", min_value="1e-4", max_value="0.1")
    ranges.integer_parameter_ranges.add(name="depth", min_value="2", max_value="9")
    ranges.categorical_parameter_ranges.add(name="kind", values=["a", "b"])
    definition = request.training_job_definition
    definition.role_arn = "arn:aws:iam::000000000000:role/bench"
    algorithm = definition.algorithm_specification
    algorithm.training_input_mode = definition_pb.TRAINING_INPUT_MODE_FILE
    algorithm.container_entrypoint.append("/bin/true")
    algorithm.metric_definitions.add(name="loss", regex="loss=(.*?);")
    definition.output_data_config.s3_output_path = f"file://{folder}/out"
    definition.stopping_condition.max_runtime_in_seconds = 600
    return request


def timed(name: str, call: Callable[[int], object], count: int) -> Measured:
    """Make a call again and again, one at a time."""
    latencies = []
    for number in range(WARM_UP + count):
        before = time.perf_counter()
        call(number)
        latencies.append(time.perf_counter() - before)
    percentiles = statistics.quantiles(latencies[WARM_UP:], n=100)
    return Measured(name=name, count=count, p50_s=percentiles[49], p99_s=percentiles[98])


if __name__ == "__main__":
    main()
