"""Clients of AWS as their users run them: programs that know of no server of ours.

Each client has an environment of its own, ``.aws/NAME``, since their pins clash with each other's
and with the product's; ``make test-aws`` makes them. Variables of AWS's own say where the service
is. Every other service of AWS is told to be where nothing listens, unless a test gives it a server,
so that a client which calls one is found out.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.project.repository import ROOT

ENVIRONMENTS: Final = ROOT / ".aws"
PROGRAMS: Final = Path(__file__).resolve().parent / "programs"

#: The discard port: root alone could listen there, and nobody does.
NOWHERE: Final = "http://127.0.0.1:9"

ROLE: Final = "arn:aws:iam::123456789012:role/tuner"

#: SageMaker's SDKs report each call to a bucket of AWS's unless this says otherwise.
_QUIET: Final = (
    "SchemaVersion: '1.0'\nSageMaker:\n  PythonSDK:\n    Modules:\n      TelemetryOptOut: true\n"
)


def binaries(client: str) -> Path:
    """Give the folder of a client's programs.

    Where there is none the test fails if ``MISSING_CLIENTS`` is ``fail``, as ``make test-aws`` has
    it, since a run that tests nothing must not pass; else it is skipped.
    """
    folder = ENVIRONMENTS / client
    if not (folder / ".installed").exists():
        reason = f"there is no environment for {client}: `make .aws/{client}/.installed`"
        if os.environ.get("MISSING_CLIENTS") == "fail":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return folder / "bin"


def variables(home: Path, *, sagemaker: str) -> dict[str, str]:
    """Give all that a program is told: the variables of a user who has never met AWS before.

    Args:
        home: Takes the files that clients write beside.
        sagemaker: HOST:PORT of the server that is tested.
    """
    quiet = home / "sagemaker.yaml"
    quiet.write_text(_QUIET, encoding="utf-8")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "AWS_ENDPOINT_URL_SAGEMAKER": f"http://{sagemaker}",
        "AWS_ENDPOINT_URL": NOWHERE,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(quiet),
    }


def run(command: Sequence[str | Path], environment: Mapping[str, str], *, timeout_s: float) -> str:
    """Run a program to its end, which must be a good one; give its standard output."""
    done = subprocess.run(
        [str(word) for word in command],
        env=dict(environment),
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def facts(client: str, program: str, environment: Mapping[str, str], *arguments: str) -> Any:
    """Run one of ``programs/`` in a client's environment; give what its last line says, as JSON."""
    output = run(
        [binaries(client) / "python", PROGRAMS / program, *arguments], environment, timeout_s=240
    )
    return json.loads(output.splitlines()[-1])
