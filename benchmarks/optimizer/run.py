"""Run methods on tasks, and record each run; what is recorded already is left out.

    python -m benchmarks.optimizer.run --half reporting --methods random,optuna-tpe --seeds 0-9

Runs are ordered by seed, so that what is recorded so far always covers all tasks. Every process
has one thread. With `--label NAME` the records go to NAME.jsonl instead of METHOD.jsonl, and with
`--records DIR` to another folder: for variants in development. With `--pending Q` above 1, "-pQ" is
added to the label. Needs nothing beyond Python's own library.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.optimizer.environments import FOLDER as ENVIRONMENTS
from benchmarks.optimizer.environments import environment_of, variables
from benchmarks.optimizer.records import FOLDER, read
from benchmarks.optimizer.tasks.catalogue import tasks
from benchmarks.optimizer.tasks.task import Half, Kind, Task

#: JAX keeps what it compiled: Vizier's designer is compiled anew for each number of observations,
#: which is half of its time, and another seed needs the same again. Not where latency is measured.
COMPILED_ONCE = {
    "JAX_COMPILATION_CACHE_DIR": str(ENVIRONMENTS / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def main() -> None:
    """Run what the arguments say, one method after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--methods", required=True, help="names, separated by commas")
    parser.add_argument("--half", type=Half, choices=list(Half), default=Half.TUNING)
    parser.add_argument("--kind", type=Kind, choices=list(Kind), help="only tasks of this kind")
    parser.add_argument("--tasks", help="names, separated by commas; default: all of the half")
    parser.add_argument("--slow-peers", action="store_true", help="only tasks for slow peers")
    parser.add_argument("--seeds", default="0-9", help="such as 0-9 or 0,1,2")
    parser.add_argument("--evaluations", type=int, default=100, help="of each run")
    parser.add_argument("--pending", type=int, default=1, help="evaluations pending at a time")
    parser.add_argument("--label", help="of the records; default: the method's name")
    parser.add_argument("--records", type=Path, default=FOLDER, help="folder of the records")
    parser.add_argument("--processes", type=int, default=1, help="for each method")
    arguments = parser.parse_args()
    chosen = choose(arguments.half, arguments.tasks, arguments.kind, slow=arguments.slow_peers)
    methods = arguments.methods.split(",")
    if arguments.label and len(methods) > 1:
        parser.error("a label is for one method")
    failed = False
    for method in methods:
        suffix = f"-p{arguments.pending}" if arguments.pending > 1 else ""
        path = (arguments.records / f"{arguments.label or method}{suffix}.jsonl").resolve()
        recorded = {
            (record.task, record.seed)
            for record in read(path)
            if len(record.values) >= arguments.evaluations
        }
        runs = [
            {"task": task.name, "seed": seed}
            for seed in seeds(arguments.seeds)
            for task in chosen
            if (task.name, seed) not in recorded
        ]
        print(f"{method}: {len(runs)} runs, to {path.name}", flush=True)
        options = [
            f"--method={method}",
            f"--path={path}",
            f"--evaluations={arguments.evaluations}",
            f"--pending={arguments.pending}",
        ]
        failed |= not start(method, options, runs, processes=arguments.processes)
    sys.exit(1 if failed else 0)


def choose(half: Half, names: str | None, kind: Kind | None, *, slow: bool) -> list[Task]:
    """Choose tasks: those named, whatever their half, or those of a half.

    Raises:
        SystemExit: There is no task of a name.
    """
    known = {task.name: task for task in tasks()}
    if names:
        missing = [name for name in names.split(",") if name not in known]
        if missing:
            raise SystemExit(f"no task {', '.join(missing)}; there are {', '.join(known)}")
        return [known[name] for name in names.split(",")]
    return [
        task
        for task in known.values()
        if task.half is half and kind in (None, task.kind) and (task.slow_peers or not slow)
    ]


def seeds(text: str) -> list[int]:
    """Read `0-9` or `0,1,2`."""
    first, dash, last = text.partition("-")
    if dash:
        return list(range(int(first), int(last) + 1))
    return [int(each) for each in text.split(",")]


def start(
    method: str, options: Sequence[str], runs: Sequence[dict[str, object]], *, processes: int
) -> bool:
    """Share runs out to processes in the method's environment; tell whether all succeeded."""
    environment = environment_of(method)
    command = [str(environment.python), "-m", "benchmarks.optimizer.worker", *options]
    environ = {**variables(), **COMPILED_ONCE}

    def work(share: Sequence[dict[str, object]]) -> bool:
        lines = "".join(json.dumps(run) + "\n" for run in share)
        return not subprocess.run(
            command, input=lines, env=environ, text=True, check=False
        ).returncode

    if environment.is_for_one_run:
        shares = [[run] for run in runs]
    else:
        shares = [list(runs[number::processes]) for number in range(min(processes, len(runs)))]
    with ThreadPoolExecutor(processes) as pool:
        return all(list(pool.map(work, shares)))


if __name__ == "__main__":
    main()
