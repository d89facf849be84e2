"""Find the recorded run for what a method proposes that knows nothing of a pool.

Such a method proposes any configuration of the search space. It gets the run that is left whose
configuration is nearest to that, by the Euclidean distance in the unit cube, and must be told that
run's configuration, so that its model and its rule see what really ran.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.fidelity.pools import F64


def nearest(points: F64, remaining: Sequence[int], wanted: Sequence[float]) -> int:
    """Give the run that is left next to a (d,) point; of several the first."""
    distances = ((points[remaining] - np.asarray(wanted)) ** 2).sum(axis=1)
    return int(remaining[int(distances.argmin())])
