"""The trial runner: a program of its own that gets trials from a server and runs them here.

It is a pure client of ``RunnerService``. The command ``tunesmith runner`` runs it; a program of
one's own may, too, with ``run_runner``. ``MetricScanner`` and ``nearest_misses`` read metrics out
of a log in the same way as the runner does.
"""

from __future__ import annotations

from tunesmith.runner.agent import run_runner
from tunesmith.runner.errors import RunnerBusy, RunnerError, UnknownGpu
from tunesmith.runner.metrics import (
    MetricPatternError,
    MetricScanner,
    NearMiss,
    nearest_misses,
)
from tunesmith.runner.s3_client import S3Endpoint
from tunesmith.runner.settings import RunnerLimits, RunnerSettings

__all__ = [
    "MetricPatternError",
    "MetricScanner",
    "NearMiss",
    "RunnerBusy",
    "RunnerError",
    "RunnerLimits",
    "RunnerSettings",
    "S3Endpoint",
    "UnknownGpu",
    "nearest_misses",
    "run_runner",
]
