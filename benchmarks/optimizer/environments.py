"""Make the environments that the benchmarks run in, as `environments.toml` describes them.

    python -m benchmarks.optimizer.environments make NAME [NAME ...]
    python -m benchmarks.optimizer.environments list

Needs nothing beyond Python's own library.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

#: The checkout.
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
FOLDER = ROOT / ".bench"
#: One core for each process: the libraries' thread pools are the benchmark's largest noise.
SINGLE_CORE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Describe one environment.

    Attributes:
        name: Of its folder, too.
        methods: What runs in it.
        versions: The packages whose versions are recorded.
        steps: Arguments for pip, in order.
        python: Its interpreter.
        is_for_one_run: A process of it makes one run, and no second one.
    """

    name: str
    methods: tuple[str, ...]
    versions: tuple[str, ...]
    steps: tuple[str, ...]
    python: Path
    is_for_one_run: bool


def environments() -> tuple[Environment, ...]:
    """Read the description of all environments."""
    described = tomllib.loads((HERE / "environments.toml").read_text(encoding="utf-8"))
    return tuple(
        Environment(
            name=name,
            methods=tuple(each["methods"]),
            versions=tuple(each["versions"]),
            steps=tuple(each["steps"]),
            python=ROOT / each.get("python", f".bench/{name}/bin/python"),
            is_for_one_run=each.get("is_for_one_run", False),
        )
        for name, each in described.items()
    )


def environment(name: str) -> Environment:
    """Give the environment of that name."""
    return {each.name: each for each in environments()}[name]


def environment_of(method: str) -> Environment:
    """Give the environment that a method runs in.

    Raises:
        SystemExit: No environment has it, or it is not made yet.
    """
    for each in environments():
        if method in each.methods:
            interpreter(each, wanted_by=method)
            return each
    known = ", ".join(method for each in environments() for method in each.methods)
    raise SystemExit(f"there is no method {method}; there are {known}")


def interpreter(described: Environment, *, wanted_by: str) -> Path:
    """Give the interpreter of an environment.

    Raises:
        SystemExit: The environment is not made yet.
    """
    if not described.python.exists():
        make = "make venv" if not described.steps else f"{_PROGRAM} make {described.name}"
        raise SystemExit(f"{wanted_by} needs the environment {described.name}: {make}")
    return described.python


def variables() -> dict[str, str]:
    """Give the environment variables of a process that is measured."""
    # What the caller put on the path stays on it: another version of ours, say.
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {
        **os.environ,
        **SINGLE_CORE,
        "PYTHONPATH": path,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    }


def make(described: Environment) -> None:
    """Make an environment, or bring it up to date with its description."""
    if not described.steps:
        print(f"{described.name}: made by `make venv`")
        return
    folder = FOLDER / described.name
    if not described.python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for step in described.steps:
        print(f"{described.name}: pip {step}", flush=True)
        pip = [str(described.python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *step.split()], check=True)


def main() -> None:
    """Make environments, or list them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("action", choices=("make", "list"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    arguments = parser.parse_args()
    chosen = [environment(name) for name in arguments.names] or list(environments())
    for each in chosen:
        if arguments.action == "make":
            make(each)
        else:
            state = "made" if each.python.exists() else "not made"
            print(f"{each.name:12}{state:10}{', '.join(each.methods)}")


_PROGRAM = "python -m benchmarks.optimizer.environments"

if __name__ == "__main__":
    main()
