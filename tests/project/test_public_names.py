"""The names that programs of others import: each is a promise, and a new one is a decision."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

PUBLIC = {
    "tunesmith": {
        "AccessDenied",
        "AllTrialsFailed",
        "Client",
        "Conflict",
        "DeadlineExceeded",
        "InvalidRequest",
        "InvalidState",
        "AlreadyCompleted",
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
    },
    "tunesmith.runner": {
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


def test_no_module_takes_the_place_of_a_public_name() -> None:
    # Importing a module sets its name in the package, over whatever has the same name there.
    tunesmith = importlib.import_module("tunesmith")
    modules = {module.name for module in pkgutil.iter_modules(tunesmith.__path__)}
    assert modules & PUBLIC["tunesmith"] == {"aio", "aws_json"}


def test_what_is_not_public_is_missed_in_plain_words() -> None:
    tunesmith = importlib.import_module("tunesmith")
    with pytest.raises(AttributeError, match="no attribute 'minimise'"):
        getattr(tunesmith, "minimise")  # noqa: B009 - a misspelling that mypy would find
