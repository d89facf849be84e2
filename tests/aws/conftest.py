"""One server for all clients, as a site that knows nothing of them would set it up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.aws.clients import variables
from tests.e2e.aws import SITE
from tests.e2e.harness import ServerProcess
from tests.e2e.jobs import ENDLESS, FAILING, PYTHON, QUADRATIC

QUADRATIC_IMAGE = "registry.example.com/quadratic:1"
ENDLESS_IMAGE = "registry.example.com/endless:1"

#: A directory stands for the bucket, so that no client but one that asks S3 itself needs an S3.
BUCKET = "s3://lab-models"

_MORE = """
[algorithms.endless]
command = {endless}

[algorithms.failing]
command = {failing}
metric_definitions = [{{ name = "objective", regex = "objective=(.*?);" }}]

[images."*/endless:*"]
algorithm = "endless"

[buckets.lab-models]
path = "bucket"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSite:
    """Hold a server and what its clients are told.

    Attributes:
        server: The server.
        bucket: The directory that stands for ``BUCKET``.
        environment: The variables of a client that is told where the server is, and no more.
    """

    server: ServerProcess
    bucket: Path
    environment: dict[str, str]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientSite]:
    folder = tmp_path_factory.mktemp("aws")
    bucket, home = folder / "bucket", folder / "home"
    home.mkdir()
    (bucket / "data").mkdir(parents=True)
    (bucket / "data" / "numbers.csv").write_text("1,2\n", encoding="utf-8")
    commands = {}
    for name, text in (("quadratic", QUADRATIC), ("endless", ENDLESS), ("failing", FAILING)):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        commands[name] = json.dumps([*PYTHON, f"./{name}.py"])
    config = folder / "tunesmith.toml"
    config.write_text(
        SITE.format(command=commands.pop("quadratic")) + _MORE.format(**commands), encoding="utf-8"
    )
    server = ServerProcess(folder / "data", config=config)
    try:
        http = server.start().http
        yield ClientSite(server=server, bucket=bucket, environment=variables(home, sagemaker=http))
    finally:
        server.close()
