"""How many durable commits the store makes in a second, next to what the disk allows.

A commit is what one metric report causes: a new version of the tuning job, the training job's row,
one measurement and one event. Each of the concurrent writers has a tuning job of its own and sends
its next commit when the last one is durable. The reference is the disk itself: 4 KiB appended and
synced, measured in the same run and on the same disk, one at a time.

The last line counts metric values, not commits: one trial's, a thousand in a commit, as the
coordinator writes them when they come faster than the disk syncs.

    python -m benchmarks.store [--folder DIR] [--seconds S] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.shared.report import save
from tunesmith.v1 import event_pb2
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain.effects import Announce, SaveMeasurement, SaveTrial
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.trial import Trial, launch
from tunesmith_server.domain.tuning_job import TuningJob
from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import Commit, NewJob

CONCURRENCIES = (1, 16, 64)
#: Metric values in one commit of the last line: the most that the coordinator decides together.
BULK = 1000
AT = datetime(2026, 11, 24, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold one line of the table.

    Attributes:
        name: What was measured.
        per_s: Completed a second, all writers together.
        p50_s: Median latency.
        p99_s: 99th percentile of the latency.
        ratio: ``per_s`` over that of the reference.
    """

    name: str
    per_s: float
    p50_s: float
    p99_s: float
    ratio: float = 1.0


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: temporary")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each line")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/store.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        lines = measure(Path(folder), arguments.seconds)
    print(f"{'':24}{'per s':>10}{'p50 ms':>10}{'p99 ms':>10}{'x disk':>10}")
    for line in lines:
        times = f"{line.p50_s * 1e3:>10.2f}{line.p99_s * 1e3:>10.2f}"
        print(f"{line.name:24}{line.per_s:>10.0f}{times}{line.ratio:>10.2f}")
    save(arguments.json, sqlite=sqlite3.sqlite_version, lines=[asdict(line) for line in lines])


def measure(folder: Path, seconds: float) -> list[Measured]:
    """Measure the reference, then the store at each concurrency."""
    reference = raw_sync(folder / "reference", seconds)
    lines = [reference]
    for concurrency in CONCURRENCIES:
        line = asyncio.run(commits(folder / f"{concurrency}.sqlite3", concurrency, seconds))
        lines.append(replace(line, ratio=line.per_s / reference.per_s))
    line = asyncio.run(bulk(folder / "bulk.sqlite3", seconds))
    lines.append(replace(line, ratio=line.per_s / reference.per_s))
    return lines


def raw_sync(path: Path, seconds: float) -> Measured:
    """Append 4 KiB and sync, one after the other."""
    latencies = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        before = time.perf_counter()
        os.write(file, bytes(4096))
        os.fdatasync(file)
        latencies.append(time.perf_counter() - before)
    os.close(file)
    return summary("append 4 KiB and sync", latencies, seconds)


async def commits(path: Path, concurrency: int, seconds: float) -> Measured:
    """Let writers commit reports as fast as each is answered."""
    store = await SqliteStore.open(path)
    latencies: list[float] = []
    writers = [await Writer.start(store, f"job-{number}") for number in range(concurrency)]
    until = time.perf_counter() + seconds
    await asyncio.gather(*(writer.write(until, latencies, values=1) for writer in writers))
    await store.close()
    return summary(f"commits, {concurrency} writers", latencies, seconds)


async def bulk(path: Path, seconds: float) -> Measured:
    """Let one writer commit many values at a time; making the commits does not count."""
    store = await SqliteStore.open(path)
    latencies: list[float] = []
    writer = await Writer.start(store, "job")
    await writer.write(time.perf_counter() + seconds, latencies, values=BULK)
    await store.close()
    line = summary(f"values, {BULK} a commit", latencies, sum(latencies))
    return replace(line, per_s=line.per_s * BULK)


class Writer:
    """Commit one metric report after the other to a tuning job."""

    def __init__(self, store: SqliteStore, job: TuningJob, trial: Trial) -> None:
        self._store = store
        self._job = job
        self._trial = trial

    @classmethod
    async def start(cls, store: SqliteStore, name: str) -> Writer:
        """Create a tuning job with one training job."""
        new = NewJob(
            request=pb.CreateHyperParameterTuningJobRequest(hyper_parameter_tuning_job_name=name),
            arn=Account().tuning_job_arn(name),
            seed=0,
            created_at=AT,
            tags={},
            request_id=None,
            events=(),
        )
        job = replace((await store.create_job(new)).job, version=1, launched=1)
        trial = launch(
            name=f"{name}-001-0123abcd",
            index=1,
            definition_name=None,
            parameters={"learning_rate": "0.01", "batch_size": "32", "layers": "3"},
            now=AT,
        )
        await store.commit(Commit(job=job, durable=[SaveTrial(trial=trial, is_new=True)]))
        return cls(store, job, trial)

    async def write(self, until: float, latencies: list[float], *, values: int) -> None:
        """Commit until a time, and note how long each commit took."""
        sequence = 0
        while time.perf_counter() < until:
            commit = self._reports(sequence + 1, values)
            sequence += values
            before = time.perf_counter()
            await self._store.commit(commit)
            latencies.append(time.perf_counter() - before)

    def _reports(self, first: int, values: int) -> Commit:
        """Make the commit that metric reports cause, numbered from ``first``."""
        news = [effect for number in range(first, first + values) for effect in self._news(number)]
        self._job = replace(self._job, version=self._job.version + 1)
        return Commit(job=self._job, durable=[SaveTrial(trial=self._trial), *news])

    def _news(self, sequence: int) -> tuple[SaveMeasurement, Announce]:
        """Take in one value, and give what is written beside the trial's row."""
        value = 1.0 / sequence
        self._trial = self._trial.measured("validation:loss", value, AT, step=sequence)
        metric = event_pb2.MetricEmitted(
            training_job_name=self._trial.name,
            metric_name="validation:loss",
            value=value,
            step=sequence,
        )
        saved = SaveMeasurement(
            trial_name=self._trial.name,
            lease_token=1,
            sequence=sequence,
            metric_name="validation:loss",
            value=value,
            step=sequence,
            measured_at=AT,
        )
        message = event_pb2.WatchHyperParameterTuningJobResponse(metric=metric)
        return saved, Announce(message=message, trial_name=self._trial.name)


def summary(name: str, latencies: list[float], seconds: float) -> Measured:
    """Sum up the latencies of all that was completed in a time."""
    percentiles = statistics.quantiles(latencies, n=100)
    return Measured(
        name=name, per_s=len(latencies) / seconds, p50_s=percentiles[49], p99_s=percentiles[98]
    )


if __name__ == "__main__":
    main()
