"""Importing the core loads no compiler; asking for kernels does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tunesmith_core

COMPILERS = {"numba", "llvmlite", "cupy"}


def loaded_by(module: str) -> set[str]:
    """Import a module in a new process and give the names of all that is loaded then."""
    run = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; print(*sys.modules, sep='\\n')"],
        env={**os.environ, "PYTHONPATH": str(Path(tunesmith_core.__path__[0]).parent)},
        capture_output=True,
        check=True,
        text=True,
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "tunesmith_core",
        "tunesmith_core.space",
        "tunesmith_core.designs",
        "tunesmith_core.designs.quasi_random",
        "tunesmith_core.gp.backends",
        "tunesmith_core.gp.formula_backend",
        "tunesmith_core.optimizer",
        "tunesmith_core.warmup",
    ],
)
def test_an_import_loads_no_compiler(module: str) -> None:
    assert loaded_by(module) & COMPILERS == set()


@pytest.mark.parametrize("module", ["tunesmith_core.space", "tunesmith_core.designs"])
def test_spaces_and_designs_load_no_scipy(module: str) -> None:
    assert "scipy" not in loaded_by(module)


def test_the_probe_sees_a_compiler_where_there_is_one() -> None:
    assert "numba" in loaded_by("tunesmith_core.gp.numba_backend")
