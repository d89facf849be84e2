"""Replay one method, one task and seed after the other, in that method's own environment.

Started by `run.py`, which gives the replays on stdin: a line of JSON each, `{"task", "seed"}`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.fidelity.methods.by_name import environment_name, make_method
from benchmarks.fidelity.pools import read_pools
from benchmarks.fidelity.records import Record, append
from benchmarks.fidelity.replay import replay, since
from benchmarks.optimizer.environments import environment
from benchmarks.optimizer.worker import commit_of_core

#: Most improvements come early, and no budget is as small as this share of the largest one.
KEPT_FROM: Final = 0.05


def main() -> None:
    """Replay what stdin says, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--method", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--path", type=Path, required=True, help="where records are appended")
    parser.add_argument("--seconds", type=float, required=True, help="no replay begins after")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.seconds
    pools = {pool.name: pool for pool in read_pools(arguments.data)}
    versions = known_versions(arguments.method)
    for line in sys.stdin:
        if time.monotonic() > until:
            print(f"{arguments.method}: the time is over; the same command goes on", flush=True)
            return
        task, seed = (json.loads(line)[name] for name in ("task", "seed"))
        pool = pools[task]
        began = time.perf_counter()
        outcome = replay(pool, make_method(arguments.method, pool, seed=seed))
        kept = since(outcome.improvements, pool.budgets[-1] * KEPT_FROM)
        record = Record(
            task=task,
            seed=seed,
            versions=versions,
            improvements=list(kept),
            begun=outcome.begun,
            stopped=outcome.stopped,
            used_up_at=outcome.used_up_at,
            took_s=time.perf_counter() - began,
            recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        append(arguments.path, record)
        told = ", ".join(f"{record.regret(each):.4f} at {each:g}" for each in pool.budgets)
        print(
            f"{arguments.method} {task} seed {seed}: {told}; {record.took_s:.1f} s, "
            f"{record.begun} runs, {record.stopped} stopped",
            flush=True,
        )


def known_versions(method: str) -> dict[str, str]:
    """Give the versions of what a method's environment says matters."""
    where = environment(environment_name(method))
    found = {package: version(package) for package in where.versions}
    if where.name == environment("tunesmith").name:
        found["commit"] = commit_of_core()
    return found


if __name__ == "__main__":
    main()
