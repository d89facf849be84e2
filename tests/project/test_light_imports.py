"""What a program pays for importing us: a client no compiler, a command line no server."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.project.repository import SOURCE_ROOTS

COMPILERS = {"numba", "llvmlite", "cupy", "cupyx"}
NUMERICAL = {"numpy", "scipy"}
WIRE = {"grpc", "google.protobuf", "protovalidate"}


def modules_loaded_by(*imports: str) -> set[str]:
    """Import modules in a new process and give the names of all that is loaded then."""
    program = f"import {', '.join(imports)}, sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCE_ROOTS))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        ("tunesmith", COMPILERS | NUMERICAL | WIRE | {"asyncio", "rich", "tunesmith_server"}),
        ("tunesmith.space", COMPILERS | NUMERICAL | WIRE | {"asyncio", "rich", "tunesmith_server"}),
        ("tunesmith.tuning", COMPILERS | WIRE | {"rich", "tunesmith_server"}),
        ("tunesmith.sync", COMPILERS | NUMERICAL | {"tunesmith_core", "tunesmith_server"}),
        (
            "tunesmith.runner",
            COMPILERS | NUMERICAL | {"boto3", "tunesmith_core", "tunesmith_server"},
        ),
        ("tunesmith_server.cli", COMPILERS | NUMERICAL | WIRE | {"pydantic", "rich"}),
        # uvicorn brings click along.
        ("tunesmith_server.app", COMPILERS | {"rich"}),
    ],
)
def test_an_import_loads_nothing_heavy(imported: str, unwanted: set[str]) -> None:
    assert modules_loaded_by(imported) & unwanted == set()


def test_the_probe_sees_what_is_loaded() -> None:
    assert "tunesmith_core.space" in modules_loaded_by("tunesmith_core.space.ranges")
