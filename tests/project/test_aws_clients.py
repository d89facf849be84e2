"""What is said of the clients of ``make test-aws`` is what is installed for them."""

from __future__ import annotations

import re
import tomllib

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


def test_the_page_of_aws_clients_has_the_versions_that_were_tried() -> None:
    table = sections(page("aws.md"))["Clients that were tried"]
    versions = {version for pins in CLIENTS.values() for version in pins.values()}
    assert {version for version in versions if version not in table} == set()


def test_the_sdk_example_asks_for_the_version_that_was_tried() -> None:
    text = (ROOT / "examples" / "sagemaker" / "README.md").read_text(encoding="utf-8")
    assert f"sagemaker=={CLIENTS['sdk-v2']['sagemaker']}" in text
