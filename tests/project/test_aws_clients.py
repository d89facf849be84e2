"""What is said of the clients of ``make test-aws`` is what is installed for them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.aws import clients
from tests.project.repository import ROOT, page, sections

CLIENTS = {
    name.removeprefix("aws-"): dict(entry.split("==") for entry in entries)
    for name, entries in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "dependency-groups"
    ].items()
    if name.startswith("aws-")
}


def test_every_group_of_clients_is_one_that_make_installs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^AWS_CLIENTS := (.*)$", makefile, flags=re.MULTILINE)
    assert sorted(listed.split()) == sorted(CLIENTS)
    assert CLIENTS


@pytest.mark.parametrize(
    ("words", "outcome"),
    [((), pytest.fail.Exception), (("MISSING_CLIENTS=skip",), pytest.skip.Exception)],
)
def test_a_missing_client_fails_the_run_of_make_unless_it_is_told_otherwise(
    words: tuple[str, ...],
    outcome: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("MISSING_CLIENTS", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)  # of a `make test` that runs this
    # Without clients, and with a Python given, nothing but the target itself is looked at.
    command = ["make", "--dry-run", "test-aws", "AWS_CLIENTS=", f"PYTHON={sys.executable}", *words]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (given,) = re.findall(r"^MISSING_CLIENTS=(\w+) ", shown, flags=re.MULTILINE)
    monkeypatch.setenv("MISSING_CLIENTS", given)
    monkeypatch.setattr(clients, "ENVIRONMENTS", tmp_path)
    with pytest.raises(outcome, match=r"make \.aws/sdk-v2/\.installed"):
        clients.binaries("sdk-v2")


def test_a_missing_client_is_skipped_where_pytest_runs_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MISSING_CLIENTS", raising=False)
    monkeypatch.setattr(clients, "ENVIRONMENTS", tmp_path)
    with pytest.raises(pytest.skip.Exception, match="there is no environment for cli"):
        clients.binaries("cli")


def test_the_page_of_aws_clients_has_the_versions_that_were_tried() -> None:
    table = sections(page("aws.md"))["Clients that were tried"]
    versions = {version for pins in CLIENTS.values() for version in pins.values()}
    assert {version for version in versions if version not in table} == set()


def test_the_sdk_example_asks_for_the_version_that_was_tried() -> None:
    text = (ROOT / "examples" / "sagemaker" / "README.md").read_text(encoding="utf-8")
    assert f"sagemaker=={CLIENTS['sdk-v2']['sagemaker']}" in text
