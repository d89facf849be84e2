"""How long `tell` and the next `ask` take, for methods side by side on one core.

Each method is told n random points of Levy's function, asked and told once, and then timed: from the
call of tell to the return of the ask that follows. The methods take turns, some rounds each, so that
what else the machine does meets all of them. A method has at most `--limit` seconds for each n, and
at least two rounds. Every process has one thread and all of them share one core; they never work at
the same time.

    python -m benchmarks.optimizer.latency [--methods ours,optuna-tpe,optuna-gp] [--core 0]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.optimizer.environments import environment_of, variables

#: Rounds of a method before the next one's turn.
TURN = 5
#: Rounds of a method at least, however slow.
LEAST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold one line of the table.

    Attributes:
        method: What was measured.
        n: Observations before the first round; each round adds one.
        rounds: How often.
        median_s: From tell to the next ask's return.
        mean_s: The mean of the same.
        p95_s: The 95th percentile of the same.
    """

    method: str
    n: int
    rounds: int
    median_s: float
    mean_s: float
    p95_s: float


class Timed:
    """Own a method's process."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.seconds: list[float] = []
        self._process = subprocess.Popen(
            [str(environment_of(method).python), "-m", "benchmarks.optimizer.latency_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables(),
            text=True,
        )

    def prepare(self, *, d: int, n: int, seed: int) -> None:
        """Begin anew with n observations."""
        self.seconds = []
        self._ask({"method": self.method, "d": d, "n": n, "seed": seed})

    def turn(self, *, rounds: int, limit_s: float) -> bool:
        """Time some more rounds; tell whether there is time, and there are rounds, left."""
        for _ in range(TURN):
            if len(self.seconds) >= rounds:
                return False
            if len(self.seconds) >= LEAST and sum(self.seconds) >= limit_s:
                return False
            self.seconds.append(self._ask({"round": True})["seconds"])
        return True

    def measured(self, n: int) -> Measured:
        """Sum up."""
        ordered = sorted(self.seconds)
        return Measured(
            method=self.method,
            n=n,
            rounds=len(ordered),
            median_s=statistics.median(ordered),
            mean_s=statistics.fmean(ordered),
            p95_s=ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)],
        )

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _ask(self, request: dict[str, object]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.method} has ended; its error is above")
        return json.loads(line)


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--methods", default="ours,optuna-tpe,optuna-gp", help="the first is ours")
    parser.add_argument("--d", type=int, default=10, help="parameters")
    parser.add_argument("--n", default="100,300,1000", help="observations")
    parser.add_argument("--rounds", type=int, default=40, help="at most, for each method and n")
    parser.add_argument("--limit", type=float, default=60, help="seconds for each method and n")
    parser.add_argument("--core", type=int, default=0, help="that all processes share")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/latency.json"))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    lines = measure(
        arguments.methods.split(","),
        d=arguments.d,
        sizes=[int(n) for n in arguments.n.split(",")],
        rounds=arguments.rounds,
        limit_s=arguments.limit,
    )
    show(lines)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    report = {**circumstances(), "d": arguments.d, "lines": [asdict(line) for line in lines]}
    arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure(
    methods: Sequence[str], *, d: int, sizes: Sequence[int], rounds: int, limit_s: float
) -> list[Measured]:
    """Measure all methods at each number of observations, taking turns."""
    timed = [Timed(method) for method in methods]
    lines: list[Measured] = []
    for n in sizes:
        for each in timed:
            each.prepare(d=d, n=n, seed=0)
        going = list(timed)
        while going:
            going = [each for each in going if each.turn(rounds=rounds, limit_s=limit_s)]
        lines += [each.measured(n) for each in timed]
    for each in timed:
        each.close()
    return lines


def show(lines: Sequence[Measured]) -> None:
    """Print a Markdown table; the ratio is to the first method, by the median and by the mean."""
    first = {line.n: line for line in reversed(lines)}
    print("| method | n | rounds | median ms | mean ms | p95 ms | median x first | mean x first |")
    print("|---|---|---|---|---|---|---|---|")
    for line in lines:
        own = [f"{each * 1e3:.2f}" for each in (line.median_s, line.mean_s, line.p95_s)]
        reference = first[line.n]
        ratios = [line.median_s / reference.median_s, line.mean_s / reference.mean_s]
        shown = " | ".join([*own, *(f"{ratio:.2f}" for ratio in ratios)])
        print(f"| {line.method} | {line.n} | {line.rounds} | {shown} |")


def circumstances() -> dict[str, str]:
    """Name the machine and when it was."""
    processor = platform.processor()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
