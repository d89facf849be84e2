"""Run one method, one run after the other, in that method's own environment.

Started by `run.py`, which gives the runs on stdin: a line of JSON each, `{"task", "seed"}`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.optimizer.environments import ROOT, environment, environments
from benchmarks.optimizer.evaluator import Evaluator
from benchmarks.optimizer.methods.by_name import make_method
from benchmarks.optimizer.methods.method import Method
from benchmarks.optimizer.records import Record, append
from benchmarks.optimizer.space import Value
from benchmarks.optimizer.tasks.catalogue import by_name
from benchmarks.optimizer.tasks.task import Evaluation


def main() -> None:
    """Run what stdin says; a run that fails is reported, and the next one follows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--method", required=True)
    parser.add_argument("--path", type=Path, required=True, help="where records are appended")
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--pending", type=int, default=1)
    arguments = parser.parse_args()
    versions = known_versions(arguments.method)
    failed = 0
    with Evaluator() as evaluator:
        for line in sys.stdin:
            run = json.loads(line)
            began = time.perf_counter()
            where = f"{arguments.method} {run['task']} seed {run['seed']}"
            try:
                record = measure(
                    evaluator,
                    arguments.method,
                    task_name=run["task"],
                    seed=run["seed"],
                    evaluations=arguments.evaluations,
                    pending=arguments.pending,
                    versions=versions,
                )
            except Exception:  # noqa: BLE001 - a peer may raise anything; the next run may succeed
                traceback.print_exc()
                print(f"{where}: failed", flush=True)
                failed += 1
                continue
            append(arguments.path, record)
            took = time.perf_counter() - began
            print(f"{where}: {record.best()[-1]:.7g} in {took:.1f} s", flush=True)
    sys.exit(1 if failed else 0)


def measure(
    evaluator: Evaluator,
    method_name: str,
    *,
    task_name: str,
    seed: int,
    evaluations: int,
    pending: int,
    versions: dict[str, str],
) -> Record:
    """Run a method on a task: keep `pending` evaluations asked for, and tell them in order."""
    task = by_name(task_name)
    evaluator.choose(task)
    method = make_method(method_name, task.space, seed=seed, evaluations=evaluations)
    waiting: deque[tuple[dict[str, Value], Evaluation]] = deque()
    evaluated: list[Evaluation] = []
    ask_s: list[float] = []
    tell_s: list[float] = []
    for number in range(evaluations):
        if len(waiting) == pending:
            tell_s.append(_tell(method, *waiting.popleft()))
        began = time.perf_counter()
        configuration = method.ask()
        ask_s.append(time.perf_counter() - began)
        evaluation = evaluator.evaluate(configuration, seed=seed, number=number)
        evaluated.append(evaluation)
        waiting.append((configuration, evaluation))
    tell_s.extend(_tell(method, *each) for each in waiting)
    noisy = any(each.value != each.mean for each in evaluated)
    return Record(
        task=task_name,
        method=method_name,
        seed=seed,
        pending=pending,
        versions=versions,
        values=[each.value for each in evaluated],
        means=[each.mean for each in evaluated] if noisy else [],
        ask_s=ask_s,
        tell_s=tell_s,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def known_versions(method: str) -> dict[str, str]:
    """Give the versions of what a method's environment says matters."""
    (where,) = (each for each in environments() if method in each.methods)
    found = {}
    for package in where.versions:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if where.name == environment("tunesmith").name:
        found["commit"] = commit_of_core()
    return found


def commit_of_core() -> str:
    """Give the commit that last changed what suggests; "-dirty" if it was changed since."""
    named = _git("log", "-1", "--format=%h", "--", "core")
    changed = _git("status", "--porcelain", "--", "core")
    return f"{named}-dirty" if changed else named


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _tell(method: Method, configuration: dict[str, Value], evaluation: Evaluation) -> float:
    began = time.perf_counter()
    method.tell(configuration, evaluation.value)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
