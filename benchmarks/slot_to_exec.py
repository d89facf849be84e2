"""How long a free slot stays free: from a training job's end to the next one's ``exec``.

A whole server with its runner, as users start it, and training jobs that do next to nothing.

- *slot to exec*: from TrainingEndTime of the training job that left the slot, which is when the
  server decides on its end, to TrainingStartTime of the one that takes it, which is when the runner
  has seen that its program was executed. Between the two lie the next suggestion, three durable
  commits, the assignment's way to the runner, the trial's directory, and a process.
- *exit to first line*: from the last line of one program to the first line of the next, by their own
  clocks. It has all that, and beside it the upload of the model and the shell's start.

Once with a suggestion that is asked for when the slot is free, and once with training jobs that
wait already. The reference is a bare asyncio subprocess, measured in the same run.

    python -m benchmarks.slot_to_exec [--trials N] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tunesmith
from benchmarks.shared.report import save
from tunesmith_server.cli.embedded import embedded_server

PROGRAM = 'echo "began=$(date +%s%N); objective=1;"; sleep 0.02; echo "ended=$(date +%s%N);"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold one line of the table.

    Attributes:
        name: What was measured.
        count: How often.
        p50_s: Median latency.
        p90_s: 90th percentile.
        p99_s: 99th percentile.
        ratio: ``p50_s`` over that of the reference.
    """

    name: str
    count: int
    p50_s: float
    p90_s: float
    p99_s: float
    ratio: float = 1.0


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=100, help="training jobs of each line")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/slot_to_exec.json"))
    arguments = parser.parse_args()
    lines = measure(arguments.trials)
    print(f"{'':40}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'x spawn':>10}")
    for line in lines:
        times = "".join(f"{each * 1e3:>10.1f}" for each in (line.p50_s, line.p90_s, line.p99_s))
        print(f"{line.name:40}{times}{line.ratio:>10.1f}")
    save(arguments.json, lines=[asdict(line) for line in lines])


def measure(trials: int) -> list[Measured]:
    """Measure the reference, then both ways in which a slot gets its next training job."""
    reference = summary("asyncio spawns /bin/true", asyncio.run(spawns(trials)))
    lines = [
        *hand_overs("suggested on demand", trials, slots=1, parallel=1),
        *hand_overs("waiting already", trials, slots=1, parallel=3),
    ]
    return [reference, *(replace(line, ratio=line.p50_s / reference.p50_s) for line in lines)]


async def spawns(count: int) -> list[float]:
    """Start processes, one after the other; each has executed its program when it is returned."""
    latencies = []
    for _ in range(count):
        before = time.perf_counter()
        process = await asyncio.create_subprocess_exec("/bin/true")
        latencies.append(time.perf_counter() - before)
        await process.wait()
    return latencies


def hand_overs(name: str, trials: int, *, slots: int, parallel: int) -> list[Measured]:
    """Run one tuning job, and measure what lies between its training jobs."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "tunesmith.toml"
        config.write_text(f"[runners]\nslots = {slots}\n", encoding="utf-8")
        with (
            embedded_server(
                config=config, data_dir=Path(folder) / "data", may_move=False
            ) as server,
            tunesmith.connect(server.address) as client,
        ):
            client.create(request(trials, parallel=parallel, output=Path(folder) / "out"))
            printed: dict[tuple[str, str], float] = {}
            for event in client.watch("bench"):
                if event.HasField("metric"):
                    key = (event.metric.metric_name, event.metric.training_job_name)
                    printed[key] = event.metric.value / 1e9
            summaries = list(client.training_jobs("bench"))
    order = sorted(summaries, key=lambda each: each.training_start_time.ToNanoseconds())
    pairs = list(itertools.pairwise(order))
    recorded = [
        (after.training_start_time.ToNanoseconds() - before.training_end_time.ToNanoseconds()) / 1e9
        for before, after in pairs
    ]
    names = [(before.training_job_name, after.training_job_name) for before, after in pairs]
    seen = [printed["began", after] - printed["ended", before] for before, after in names]
    return [
        summary(f"slot to exec, {name}", recorded),
        summary(f"exit to first line, {name}", seen),
    ]


def request(trials: int, *, parallel: int, output: Path) -> Mapping[str, object]:
    """Make the CreateHyperParameterTuningJob request."""
    return {
        "HyperParameterTuningJobName": "bench",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "objective"},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": trials,
                "MaxParallelTrainingJobs": parallel,
            },
            "ParameterRanges": {
                "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]
            },
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["/bin/sh", "-c", PROGRAM],
                "MetricDefinitions": [
                    {"Name": metric, "Regex": f"{metric}=([0-9]+);"}
                    for metric in ("began", "ended", "objective")
                ],
            },
            "RoleArn": "arn:aws:iam::000000000000:role/bench",
            "OutputDataConfig": {"S3OutputPath": f"file://{output}"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        },
    }


def summary(name: str, latencies: Sequence[float]) -> Measured:
    """Sum up latencies."""
    percentiles = statistics.quantiles(latencies, n=100)
    return Measured(
        name=name,
        count=len(latencies),
        p50_s=percentiles[49],
        p90_s=percentiles[89],
        p99_s=percentiles[98],
    )


if __name__ == "__main__":
    main()
