"""The names that programs of others import: each is a promise, and a new one is a decision."""

from __future__ import annotations

import importlib

import pytest

PUBLIC = {
    "tunesmith": {
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
    },
    "tunesmith.runner": {
        "MetricPatternError",
        "MetricScanner",
        "NearMiss",
        "RunnerBusy",
        "RunnerError",
        "RunnerLimits",
        "RunnerSettings",
        "UnknownGpu",
        "nearest_misses",
        "run_runner",
    },
}


@pytest.mark.parametrize("module_name", PUBLIC)
def test_the_public_names_are_these(module_name: str) -> None:
    module = importlib.import_module(module_name)
    assert set(module.__all__) == PUBLIC[module_name]
    assert list(module.__all__) == sorted(module.__all__)


@pytest.mark.parametrize("module_name", PUBLIC)
def test_every_public_name_is_there(module_name: str) -> None:
    module = importlib.import_module(module_name)
    missing = [name for name in PUBLIC[module_name] if getattr(module, name, None) is None]
    assert missing == []


def test_what_is_not_public_is_missed_in_plain_words() -> None:
    tunesmith = importlib.import_module("tunesmith")
    with pytest.raises(AttributeError, match="no attribute 'minimise'"):
        getattr(tunesmith, "minimise")  # noqa: B009 - a misspelling that mypy would find
