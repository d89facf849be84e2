"""How long the surrogate's array work takes, on each backend that this machine has.

Compiled kernels on one core, the same formulas over numpy and, where there is a GPU, over CuPy, and the GPU's
kernels: a likelihood with its gradient, a posterior's factor, one more point, and predictions. The
reference is the compiled kernels at the same n.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/backends.py [--n 100,1000] [--repeats K]
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from tunesmith_core.gp.backends import Backend
from tunesmith_core.gp.formula_backend import FormulaBackend
from tunesmith_core.gp.likelihood import Likelihood
from tunesmith_core.gp.numba_backend import NumbaBackend
from tunesmith_core.gp.parameters import Layout, unpack
from tunesmith_core.gp.posterior import Posterior
from tunesmith_core.gp.priors import PriorSettings, prior_of
from tunesmith_core.gpu.backend import GpuBackend
from tunesmith_core.gpu.cupy_device import CupyDevice
from tunesmith_core.space.scaling import F64

DIMENSIONS = 10
PREDICTED = 512


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n", default="100,300,1000", help="numbers of observations")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(
        f"{'backend':10} {'n':>6} {'likelihood':>12} {'factor':>12} {'append':>12} {'predict':>12}"
    )
    for n in map(int, arguments.n.split(",")):
        x, y = observations(n)
        for name, backend in backends():
            with backend.active():
                times = measure(backend, x, y, arguments.repeats)
            took = [statistics.median(each) for each in times]
            print(f"{name:10} {n:6}", *(f"{1e3 * seconds:9.3f} ms" for seconds in took), flush=True)


def backends() -> Iterator[tuple[str, Backend]]:
    """Give the backends that work here."""
    yield "numba", NumbaBackend()
    yield "numpy", FormulaBackend(np)
    try:
        cupy = importlib.import_module("cupy")
        cupy.zeros(1)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no GPU to use
        print(f"no GPU: {type(error).__name__}")
    else:
        yield "cupy", FormulaBackend(cupy)
        yield "gpu", GpuBackend(CupyDevice())


def observations(n: int) -> tuple[F64, F64]:
    """Give points (n, d) and values (n,) of a smooth function."""
    x = np.random.default_rng(0).random((n, DIMENSIONS))
    y = np.sin(3 * x).sum(axis=1)
    return x, (y - y.mean()) / y.std()


def measure(backend: Backend, x: F64, y: F64, repeats: int) -> list[list[float]]:
    """Time the four kinds of work: seconds of each repeat."""
    layout = Layout(
        categorical=np.zeros(DIMENSIONS, dtype=np.bool_),
        warped=np.arange(DIMENSIONS),
        unscaled=np.zeros(DIMENSIONS, dtype=np.bool_),
    )
    prior = prior_of(layout, PriorSettings())
    likelihood = Likelihood(backend, layout, prior, x, y)
    hyperparameters = unpack(layout, prior.mean)
    posterior = Posterior(backend, layout, hyperparameters, x, capacity=len(x) + 64)
    predictor = posterior.condition(y)
    candidates = np.random.default_rng(1).random((PREDICTED, DIMENSIONS))

    def append() -> None:
        posterior.truncate(len(x))
        posterior.append(candidates[0])

    work: list[Callable[[], object]] = [
        lambda: likelihood.negative_log_posterior(prior.mean),
        lambda: Posterior(backend, layout, hyperparameters, x, capacity=len(x)),
        append,
        lambda: predictor.predict(candidates),
    ]
    synchronise = getattr(getattr(backend.xp, "cuda", None), "Device", None)
    seconds: list[list[float]] = []
    for call in work:
        call()
        seconds.append([])
        for _ in range(repeats):
            began = time.perf_counter()
            call()
            if synchronise is not None:
                synchronise().synchronize()
            seconds[-1].append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
