"""Replay methods on recorded training runs, and record each replay; what is recorded is left out.

    .venv/bin/python -m benchmarks.fidelity.run --data DIR --methods random,halving --seeds 0-99

Replays are ordered by seed, so that what is recorded so far always covers all tasks. Every process
has one thread. With `--label NAME` the records go to NAME.jsonl instead of METHOD.jsonl, and with
`--records DIR` to another folder: for variants in development.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fidelity.methods.by_name import METHODS, environment_name
from benchmarks.fidelity.records import FOLDER, read
from benchmarks.optimizer.environments import environment, interpreter, variables
from benchmarks.optimizer.run import seeds

HOUR_S = 3600.0


def main() -> None:
    """Replay what the arguments say, one method after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the training runs")
    parser.add_argument("--methods", required=True, help=f"by commas, of {', '.join(METHODS)}")
    parser.add_argument("--tasks", help="names, by commas; default: all")
    parser.add_argument("--seeds", default="0-99", help="such as 0-99 or 0,1,2")
    parser.add_argument("--label", help="of the records; default: the method's name")
    parser.add_argument("--records", type=Path, default=FOLDER, help="folder of the records")
    parser.add_argument("--seconds", type=float, default=HOUR_S, help="of each method, about")
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    if arguments.label and len(methods) > 1:
        parser.error("a label is for one method")
    chosen = choose(arguments.data, arguments.tasks)
    failed = False
    for method in methods:
        path = (arguments.records / f"{arguments.label or method}.jsonl").resolve()
        recorded = {(record.task, record.seed) for record in read(path)}
        replays = [
            {"task": task, "seed": seed}
            for seed in seeds(arguments.seeds)
            for task in chosen
            if (task, seed) not in recorded
        ]
        print(f"{method}: {len(replays)} replays, to {path.name}", flush=True)
        options = [
            f"--data={arguments.data.resolve()}",
            f"--path={path}",
            f"--seconds={arguments.seconds}",
        ]
        failed |= not start(method, options, replays)
    sys.exit(1 if failed else 0)


def choose(folder: Path, names: str | None) -> list[str]:
    """Choose tasks of a folder: those named, or all.

    Raises:
        SystemExit: There is no task of a name, or none at all.
    """
    known = [path.stem for path in sorted(folder.glob("taskset_*.npz"))]
    if (folder / "alexnet_imagenet.jsonl.gz").exists():
        known.insert(0, "alexnet")
    chosen = names.split(",") if names else known
    missing = [name for name in chosen if name not in known]
    if missing or not chosen:
        raise SystemExit(f"no task {', '.join(missing)} in {folder}; there are {', '.join(known)}")
    return chosen


def start(method: str, options: Sequence[str], replays: Sequence[dict[str, object]]) -> bool:
    """Give replays to a process in the method's environment; tell whether it succeeded."""
    if not replays:
        return True
    python = interpreter(environment(environment_name(method)), wanted_by=method)
    command = [str(python), "-m", "benchmarks.fidelity.worker", f"--method={method}", *options]
    lines = "".join(json.dumps(each) + "\n" for each in replays)
    done = subprocess.run(command, input=lines, env=variables(), text=True, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    main()
