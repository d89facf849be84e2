"""Compiled kernels for the tests that use them, and array backends to run one suite over."""

import importlib

import numpy as np
import pytest

from tests.core.gpu.host_device import COMPILER, HAS_GPU, HostDevice
from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.formula_backend import FormulaBackend
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.warmup import warm_up


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile before the first test: it takes longer than a test has, and no test waits for it."""
    if session.config.option.collectonly:
        return
    if any("warm" in getattr(item, "fixturenames", ()) for item in session.items):
        warm_up()


@pytest.fixture(scope="session")
def warm() -> None:
    """Have the kernels compiled; the hook above has done it."""
    warm_up()


@pytest.fixture(scope="session")
def gpu() -> None:
    """Skip where there is no GPU."""
    if not HAS_GPU:
        pytest.skip(
            "no GPU that CuPy can use: on a machine with an NVIDIA GPU, pip install 'tunesmith[gpu]'; "
            "all tests of the backends then run on it too"
        )


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skip where no C compiler can run the GPU's kernels."""
    if not COMPILER:
        pytest.skip(
            "no C compiler: install one, or name it in CC; the GPU's kernels then run on the CPU too"
        )


# One test says that the GPU is missing, and one that the compiler is, rather than a skip in each suite.
BACKENDS = [
    "numba",
    "formula",
    *(["kernels-as-c"] if COMPILER else []),
    *(["gpu", "cupy"] if HAS_GPU else []),
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, warm: None) -> Backend:
    """Give each way of doing the array work that this machine has."""
    del warm
    return backend_named(request.param)


def backend_named(name: str) -> Backend:
    """Make a backend."""
    from tunesmith_core.gp.numba_backend import NumbaBackend

    match name:
        case "numba":
            return NumbaBackend()
        case "formula":
            return FormulaBackend(np)
        case "kernels-as-c":
            return GpuBackend(HostDevice())
        case "gpu":
            from tunesmith_core.gpu.cupy_device import CupyDevice

            return GpuBackend(CupyDevice())
        case _:
            return FormulaBackend(importlib.import_module(name))
