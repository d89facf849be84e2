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
from tests.s3 import CREDENTIALS

QUADRATIC_IMAGE = "registry.example.com/quadratic:1"
ENDLESS_IMAGE = "registry.example.com/endless:1"

#: A directory stands for this bucket. All others are reached over the network, by runner and client.
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

[s3]
endpoint_url = "{s3_url}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSite:
    """Hold a server and what its clients are told.

    Attributes:
        server: The server.
        bucket: The directory that stands for ``BUCKET``.
        environment: The variables of a client that is told where the server is, and no more.
        s3_environment: The same, with where S3 is.
    """

    server: ServerProcess
    bucket: Path
    environment: dict[str, str]
    s3_environment: dict[str, str]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, s3_url: str) -> Iterator[ClientSite]:
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
    text = SITE.format(command=commands.pop("quadratic")) + _MORE.format(**commands, s3_url=s3_url)
    config.write_text(text, encoding="utf-8")
    server = ServerProcess(folder / "data", config=config, environment=CREDENTIALS)
    try:
        told = variables(home, sagemaker=server.start().http)
        yield ClientSite(
            server=server,
            bucket=bucket,
            environment=told,
            s3_environment={**told, "AWS_ENDPOINT_URL_S3": s3_url},
        )
    finally:
        server.close()
