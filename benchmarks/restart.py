"""How soon a server is back after `kill -9`, with 10,000 trials stored.

Twenty tuning jobs that callers drive, four of them Bayesian, with 500 completed trials each and ten
that are held. The server is killed and started again on the same data; what counts is from the
start of the new process to its first answers. Beside it: a server that has nothing stored.

    .venv/bin/python -m benchmarks.restart [--trials 10000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import psutil
import uvloop

from benchmarks import suggestions
from benchmarks.shared.report import save
from benchmarks.suggestions import Stream, Stub
from tunesmith.v1 import suggestion_service_pb2 as pb
from tunesmith.v1 import tuning_service_pb2 as tuning_pb

JOBS: Final = {"Random": 16, "Bayesian": 4}
#: Trials of a tuning job that are held when the server is killed.
_HELD: Final = 10


async def fill(stub: Stub, name: str, trials: int) -> None:
    """Complete so many trials of a tuning job, and hold some more."""
    stream = Stream(stub)
    ask = _ask(name)
    done = 0
    while done < trials:
        asked = (await stream.call(suggest=ask)).suggest.trials
        await asyncio.gather(
            *(stream.call(complete_trial=suggestions.completed(trial)) for trial in asked)
        )
        done += len(asked)
    await stream.call(suggest=ask)
    await stream.close()


async def answers(folder: Path, kinds: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Start a server on a data directory, and give the seconds until each kind of answer."""
    began = time.perf_counter()
    seconds = {}

    def note(what: str) -> None:
        seconds[what] = time.perf_counter() - began

    async with suggestions.server(folder, warm_s=0.0) as stub:
        note("the server says that it is ready")
        await stub.tuning.ListHyperParameterTuningJobs(
            tuning_pb.ListHyperParameterTuningJobsRequest()
        )
        note("List")
        for kind, names in kinds.items():
            await asyncio.gather(*(_go_on(stub, name) for name in names))
            note(f"held and new trials of each of {len(names)} {kind} tuning jobs")
    return seconds


async def _go_on(stub: Stub, name: str) -> None:
    """Ask for what is held, complete one of it, and ask for a new one."""
    held = (await stub.suggestions.Suggest(_ask(name))).trials
    await stub.suggestions.CompleteTrial(suggestions.completed(held[0]))
    again = (await stub.suggestions.Suggest(_ask(name))).trials
    if len(held) != _HELD or len(again) != _HELD:
        raise RuntimeError(f"{name} has {len(held)}, then {len(again)} trials held")


def _ask(name: str) -> pb.SuggestRequest:
    ask = pb.SuggestRequest(
        hyper_parameter_tuning_job_name=name, client_id=f"client of {name}", count=_HELD
    )
    ask.max_wait.FromSeconds(60)
    return ask


async def killed_and_back(trials: int) -> dict[str, float]:
    """Fill a server, kill it, and give the seconds until its successor's answers."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        async with suggestions.server(folder) as stub:
            each = trials // sum(JOBS.values())
            kinds = {
                kind: [
                    await stub.create(kind, jobs=each + 10 * _HELD, parallel=_HELD)
                    for _ in range(count)
                ]
                for kind, count in JOBS.items()
            }
            every = itertools.chain.from_iterable(kinds.values())
            await asyncio.gather(*(fill(stub, name, each) for name in every))
            server = next(p for p in psutil.Process().children() if "serve" in p.cmdline())
            server.kill()
            server.wait()
        return await answers(folder, kinds)


async def measure(trials: int, rounds: int) -> dict[str, float]:
    """Give the median seconds until each kind of answer."""
    empty, filled = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            empty.append(await answers(Path(folder), {}))
        filled.append(await killed_and_back(trials))
    figures = {
        "nothing stored: the server says that it is ready": statistics.median(
            seconds["the server says that it is ready"] for seconds in empty
        )
    }
    for what in filled[0]:
        median = statistics.median(seconds[what] for seconds in filled)
        figures[f"{trials} trials stored: {what}"] = median
    return figures


def main() -> None:
    """Measure, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=10_000, help="at most 10000")
    parser.add_argument("--rounds", type=int, default=3, help="at most 10")
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks/restart.json"), metavar="FILE"
    )
    arguments = parser.parse_args()
    figures = uvloop.run(measure(min(arguments.trials, 10_000), min(arguments.rounds, 10)))
    for what, seconds in figures.items():
        print(f"{what}: {seconds:.2f} s")
    save(arguments.json, seconds=figures)


if __name__ == "__main__":
    main()
