"""How long Hyperband's rule takes to decide about one value, with many trials at every rung.

CPU time, with 20 rungs that have a value of each of n trials. For each line one trial after the other reports a value at every
rung, all of which are timed, and is then forgotten, so that n stays the same: by the rule alone,
and as the server asks it, with a value that has become durable. "between" is a report at which no
rung is reached, which is what most are. The reference is the least that an exact rule can do: to
look a value up in a sorted list of n.

    .venv/bin/python -m benchmarks.decisions [--trials 300] [--report FILE]
"""

from __future__ import annotations

import argparse
import random
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.shared.report import save
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_core.space.ranges import Continuous, SearchSpace
from tunesmith_core.stopping.halving import HalvingRule
from tunesmith_server.domain import effects as fx
from tunesmith_server.domain.completion import Goal
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.states import TrainingJobStatus, TuningJobStatus
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.trial import launch
from tunesmith_server.domain.tuning_job import (
    Definition,
    HalvingTerms,
    JobSpec,
    JobState,
    Strategy,
    TuningJob,
)
from tunesmith_server.engine.early_stopping import EarlyStopping
from tunesmith_server.store.store import Curve

RUNGS: Final = 20
ETA: Final = 4
#: The resource of each rung. The server takes full resources that give eight of them at most.
LEVELS: Final = tuple(ETA**rung for rung in range(RUNGS))
MAX_RESOURCE: Final = ETA**RUNGS
SIZES: Final = (100, 1000, 10_000, 100_000)
MAX_TRIALS: Final = 10_000
METRIC: Final = "loss"
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold one line of the table.

    Attributes:
        name: What was measured.
        n: How many trials have a value at every rung.
        p50_s: Median.
        p99_s: 99th percentile.
    """

    name: str
    n: int
    p50_s: float
    p99_s: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=300, help=f"at most {MAX_TRIALS}")
    parser.add_argument("--report", type=Path, help="a JSON file to write the figures to")
    arguments = parser.parse_args()
    lines = []
    print(f"{'':32}{'trials':>10}{'p50 µs':>10}{'p99 µs':>10}")
    for n in SIZES:
        for line in measure(n, min(arguments.trials, MAX_TRIALS)):
            lines.append(line)
            p50, p99 = line.p50_s * 1e6, line.p99_s * 1e6
            print(f"{line.name:32}{line.n:>10}{p50:>10.1f}{p99:>10.1f}", flush=True)
    if arguments.report is not None:
        save(arguments.report, rungs=RUNGS, lines=[asdict(line) for line in lines])


def measure(n: int, trials: int) -> Iterator[Measured]:
    """Measure with a number of trials at every rung."""
    # Rising values are entered at the end, so that the rungs fill quickly; those timed are drawn.
    known = [number / n for number in range(n)]
    drawn = random.Random(n)  # noqa: S311 - seeded, and nothing is secret
    values = [[drawn.random() for _ in LEVELS] for _ in range(trials)]
    yield _line("look-up in a sorted list", n, _look_ups(known, values))
    rule = HalvingRule(maximise=False, min_resource=1, max_resource=MAX_RESOURCE, eta=ETA)
    for number, value in enumerate(known):
        for level in LEVELS:
            rule.report(number, value, resource=level)
        rule.end(number)
    at_rungs, between = _reports(rule, values)
    yield _line("rule, at a rung", n, at_rungs)
    yield _line("rule, between rungs", n, between)
    yield _line("server, at a rung", n, _observations(known, values))


def _look_ups(known: Sequence[float], values: Sequence[Sequence[float]]) -> list[float]:
    return [_timed(partial(bisect_left, known, value)) for own in values for value in own]


def _reports(
    rule: HalvingRule, values: Sequence[Sequence[float]]
) -> tuple[list[float], list[float]]:
    """Time reports at rungs, and those that follow each of them."""
    at_rungs, between = [], []
    for own in values:
        rule.begin("timed")
        for level, value in zip(LEVELS, own, strict=True):
            report = partial(rule.report, "timed", value)
            at_rungs.append(_timed(partial(report, resource=level)))
            between.append(_timed(partial(report, resource=level + 1)))
        rule.forget("timed")
    return at_rungs, between


def _observations(known: Sequence[float], values: Sequence[Sequence[float]]) -> list[float]:
    """Time what the server does with a durable value: from the effect to the event, if any."""
    spec = _spec()
    stopping = EarlyStopping(spec, _curves(known))
    job = TuningJob(job_id=1, status=TuningJobStatus.IN_PROGRESS, created_at=NOW, modified_at=NOW)
    trial = launch(name="timed", index=1, definition_name=None, parameters={}, now=NOW)
    state = JobState(spec=spec, job=job, trials={"timed": trial})
    taken = []
    for own in values:
        for level, value in zip(LEVELS, own, strict=True):
            saved = fx.SaveMeasurement(
                trial_name="timed",
                lease_token=1,
                sequence=level,
                metric_name=METRIC,
                value=value,
                step=level,
                measured_at=NOW,
            )
            taken.append(_timed(partial(stopping.observe, state, [saved])))
        stopping.observe(state, [fx.DropMeasurements(trial_name="timed")])
    return taken


def _spec() -> JobSpec:
    terms = HalvingTerms(min_resource=1, max_resource=MAX_RESOURCE, schedule=None)
    space = SearchSpace((Continuous(name="x", lo=0.0, hi=1.0),))
    definition = Definition(name=None, metric_name=METRIC, space=space, halving_terms=terms)
    return JobSpec(
        request=pb.CreateHyperParameterTuningJobRequest(),
        account=Account(),
        strategy=Strategy.HYPERBAND,
        goal=Goal(maximise=False),
        definitions=(definition,),
        seed=0,
        max_training_jobs=SIZES[-1],
        max_parallel=1,
        max_runtime=timedelta(days=1),
    )


def _curves(known: Sequence[float]) -> Iterator[Curve]:
    for number, value in enumerate(known, start=1):
        yield Curve(
            trial_name=f"known-{number}",
            index=number,
            suggestion=Suggestion(parameters={}),
            status=TrainingJobStatus.COMPLETED,
            lease_tokens=(1,) * RUNGS,
            times=(NOW,) * RUNGS,
            steps=LEVELS,
            values=(value,) * RUNGS,
        )


def _timed(act: Callable[[], object]) -> float:
    """Give the CPU time that something takes, in seconds: other work on the machine has no share."""
    began = time.thread_time()
    act()
    return time.thread_time() - began


def _line(name: str, n: int, taken: Sequence[float]) -> Measured:
    rising = sorted(taken)
    return Measured(
        name=name,
        n=n,
        p50_s=rising[len(rising) // 2],
        p99_s=rising[int(len(rising) * 0.99)],
    )


if __name__ == "__main__":
    main()
