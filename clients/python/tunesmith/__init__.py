"""Tune hyperparameters, in this process or with a Tunesmith server: all public names.

``minimize``, ``maximize`` and ``Optimizer`` need no server. ``connect`` is the client for ordinary
programs, ``tunesmith.aio.connect`` for those that run on asyncio. Importing this loads neither
gRPC nor anything numerical: names are loaded when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.errors import (
    AccessDenied,
    AlreadyCompleted,
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    InvalidState,
    NotServed,
    ResourceInUse,
    ResourceLimitExceeded,
    ResourceNotFound,
    ServerFailure,
    ServerUnavailable,
    Throttled,
    TunesmithError,
    Violation,
)

if TYPE_CHECKING:
    from tunesmith import aio, aws_json
    from tunesmith.aws_json import from_aws, to_aws
    from tunesmith.optimizer import Optimizer, Trial
    from tunesmith.space import (
        choice,
        integers,
        log_integers,
        log_uniform,
        reverse_log_uniform,
        uniform,
    )
    from tunesmith.sync import Client, Job, JobTrial, connect
    from tunesmith.tuning import AllTrialsFailed, Outcome, maximize, minimize
    from tunesmith_core.errors import SpaceError, SpaceExhausted

__all__ = [
    "AccessDenied",
    "AllTrialsFailed",
    "AlreadyCompleted",
    "Client",
    "Conflict",
    "DeadlineExceeded",
    "InvalidRequest",
    "InvalidState",
    "Job",
    "JobTrial",
    "NotServed",
    "Optimizer",
    "Outcome",
    "ResourceInUse",
    "ResourceLimitExceeded",
    "ResourceNotFound",
    "ServerFailure",
    "ServerUnavailable",
    "SpaceError",
    "SpaceExhausted",
    "Throttled",
    "Trial",
    "TunesmithError",
    "Violation",
    "aio",
    "aws_json",
    "choice",
    "connect",
    "from_aws",
    "integers",
    "log_integers",
    "log_uniform",
    "maximize",
    "minimize",
    "reverse_log_uniform",
    "to_aws",
    "uniform",
]

_MODULE_OF = {
    "AllTrialsFailed": "tunesmith.tuning",
    "Client": "tunesmith.sync",
    "Job": "tunesmith.sync",
    "JobTrial": "tunesmith.sync",
    "Optimizer": "tunesmith.optimizer",
    "Outcome": "tunesmith.tuning",
    "SpaceError": "tunesmith_core.errors",
    "SpaceExhausted": "tunesmith_core.errors",
    "Trial": "tunesmith.optimizer",
    "choice": "tunesmith.space",
    "connect": "tunesmith.sync",
    "from_aws": "tunesmith.aws_json",
    "integers": "tunesmith.space",
    "log_integers": "tunesmith.space",
    "log_uniform": "tunesmith.space",
    "maximize": "tunesmith.tuning",
    "minimize": "tunesmith.tuning",
    "reverse_log_uniform": "tunesmith.space",
    "to_aws": "tunesmith.aws_json",
    "uniform": "tunesmith.space",
}


def __getattr__(name: str) -> object:
    import importlib

    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in ("aio", "aws_json"):
        return importlib.import_module(f"tunesmith.{name}")
    raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
