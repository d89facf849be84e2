"""How much memory our optimiser takes at 1000 observations of 20 parameters, above its imports.

Resident memory is read after the imports, after the first suggestion that follows a fit at 40
observations, with which the compiled kernels are loaded, and after ten rounds at n; the peak is that
of the whole process. Runs in the product's environment.

    .venv/bin/python -m benchmarks.optimizer.memory [--n 1000] [--d 20]
"""

from __future__ import annotations

import argparse
import resource
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.optimizer.latency_worker import Session

IMPORTED = (
    "tunesmith_core.optimizer",
    "tunesmith_core.gp.numba_backend",
    "tunesmith_core.acquisition._climb_numba",
    "scipy.stats.qmc",
)
"""All that is imported, later than the optimiser or with it."""

PAGE_BYTES = resource.getpagesize()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n", type=int, default=1000, help="observations")
    parser.add_argument("--d", type=int, default=20, help="parameters")
    parser.add_argument("--method", default="ours")
    arguments = parser.parse_args()
    if arguments.method == "ours":
        for module in IMPORTED:
            import_module(module)
    # The linear algebra's own buffers come with its first use.
    np.linalg.cholesky(np.eye(64))
    imports = resident_bytes()
    small = Session(arguments.method, d=arguments.d, n=40, seed=0)
    small.round()
    loaded = resident_bytes()
    session = Session(arguments.method, d=arguments.d, n=arguments.n, seed=0)
    for _ in range(10):
        session.round()
    now = resident_bytes()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print("| resident | MB | MB above the imports |")
    print("|---|---|---|")
    for name, size in (
        ("after the imports", imports),
        ("after a fit at n = 40", loaded),
        (f"at n = {arguments.n}, d = {arguments.d}", now),
        ("at the peak", peak),
    ):
        print(f"| {name} | {size / 1e6:.1f} | {(size - imports) / 1e6:.1f} |")


def resident_bytes() -> int:
    """Read this process's resident memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


if __name__ == "__main__":
    main()
