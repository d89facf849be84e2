"""Durable trials a second: ours beside Optuna's gRPC storage proxy over SQLite.

Both with a server process, clients of other processes on the loopback, random search in ten
dimensions, and every answer after its write is on disk. Optuna's clients run the search
themselves, and the server stores; that is the use it documents. One study per four clients, as ours
are four callers of each tuning job. First Optuna with each number of clients, then ours.

    .venv/bin/python -m benchmarks.optimizer.environments make optuna
    .venv/bin/python -m benchmarks.storage_proxy [--seconds 10] [--clients 1,4,16]
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import suggestions
from benchmarks.shared.report import save

_HERE: Final = Path(__file__).resolve().parent
_PYTHON: Final = _HERE.parent / ".bench/optuna/bin/python"
_CLIENTS_A_STUDY: Final = 4


def proxied(clients: int, seconds: float) -> float:
    """Give the trials a second of so many clients of Optuna's proxy."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        port = _free_port()
        processes.enter_context(_program("serve", str(port), str(Path(folder) / "optuna.db")))
        workers = [
            processes.enter_context(
                _program("work", str(port), f"study-{number // _CLIENTS_A_STUDY}", str(seconds))
            )
            for number in range(clients)
        ]
        for worker in workers:
            _line(worker)  # it is ready
        for worker in workers:
            if worker.stdin is None:
                raise AssertionError
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [int(_line(worker)) for worker in workers]
        return sum(told) / seconds


@contextmanager
def _program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [str(_PYTHON), str(_HERE / "peers/optuna_proxy.py"), *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise AssertionError
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a client of Optuna's proxy ended before its time")
    return line


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def ours(seconds: float) -> float:
    """Give the trials a second of our callers."""
    with tempfile.TemporaryDirectory() as folder:
        async with suggestions.server(Path(folder)) as stub:
            counted = await suggestions.count_trials(stub, "Random", seconds)
    return counted / seconds


def measure(clients: Sequence[int], seconds: float) -> dict[str, float]:
    """Measure both, and give trials a second."""
    figures = {f"Optuna, {count} clients": proxied(count, seconds) for count in clients}
    figures[f"ours, {suggestions.WORKERS} callers"] = uvloop.run(ours(seconds))
    return figures


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each count, at most 60")
    parser.add_argument("--clients", default="1,4,16", help="of Optuna, by commas, each at most 64")
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks/storage_proxy.json"), metavar="FILE"
    )
    arguments = parser.parse_args()
    if not _PYTHON.exists():
        sys.exit(
            "make Optuna's environment first: python -m benchmarks.optimizer.environments make optuna"
        )
    clients = [min(int(count), 64) for count in arguments.clients.split(",")]
    figures = measure(clients, min(arguments.seconds, 60.0))
    ahead = list(figures.values())[-1]
    for name, rate in figures.items():
        print(f"{name}: {rate:.1f} trials/s; ours is {ahead / rate:.0f} times that")
    save(arguments.json, trials_per_s=figures)


if __name__ == "__main__":
    main()
