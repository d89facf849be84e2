"""Tune hyperparameters with a Tunesmith server: the client's public names.

``connect`` for ordinary programs, ``tunesmith.aio.connect`` for those that run on asyncio.
Importing this loads neither gRPC nor anything numerical: names are loaded when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.errors import (
    AccessDenied,
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
    from tunesmith.sync import Client, Job, connect

__all__ = [
    "AccessDenied",
    "Client",
    "Conflict",
    "DeadlineExceeded",
    "InvalidRequest",
    "InvalidState",
    "Job",
    "NotServed",
    "ResourceInUse",
    "ResourceLimitExceeded",
    "ResourceNotFound",
    "ServerFailure",
    "ServerUnavailable",
    "Throttled",
    "TunesmithError",
    "Violation",
    "aio",
    "aws_json",
    "connect",
    "from_aws",
    "to_aws",
]

_MODULE_OF = {
    "Client": "tunesmith.sync",
    "Job": "tunesmith.sync",
    "connect": "tunesmith.sync",
    "from_aws": "tunesmith.aws_json",
    "to_aws": "tunesmith.aws_json",
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
