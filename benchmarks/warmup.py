"""How long the kernels take until a suggestion of the model waits for nothing.

Beside it, in the same run: importing numba alone. Each run is a process of its own, as a compute
worker or a program that makes an Optimizer is. The first one has an empty directory to keep
compiled code in (NUMBA_CACHE_DIR), those that follow find it there. Median of some runs.

    .venv/bin/python benchmarks/warmup.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

_PROGRAM = """
import json, sys, time
began = time.perf_counter(), time.process_time()
if sys.argv[1] == "numba":
    import numba
else:
    from tunesmith_core import warmup
    warmup.warm_up()
print(json.dumps([time.perf_counter() - began[0], time.process_time() - began[1]]))
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3, help="of each line, at most 20")
    rounds = min(parser.parse_args().rounds, 20)
    cold, kept, alone = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(_measured("kernels", folder))
            kept.append(_measured("kernels", folder))
            alone.append(_measured("numba", folder))
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print("| | wall s | CPU s |\n|---|---|---|")
    for name, runs in (
        ("kernels, nothing kept yet", cold),
        ("kernels, kept on disk", kept),
        ("import numba alone", alone),
    ):
        wall, cpu = (statistics.median(each) for each in zip(*runs, strict=True))
        print(f"| {name} | {wall:.2f} | {cpu:.2f} |")


def _measured(what: str, cache: str) -> tuple[float, float]:
    """Give wall and CPU seconds of a new process, from its first line on."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, what],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    wall, cpu = json.loads(done.stdout)
    return wall, cpu


if __name__ == "__main__":
    main()
