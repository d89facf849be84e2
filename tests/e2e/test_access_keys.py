"""A server with access keys lets in who signs with one of them, and nobody else."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.e2e.aws import KEY_ID, SECRET, sagemaker
from tests.e2e.calls import Calls
from tests.e2e.harness import ServerProcess

pytestmark = pytest.mark.timeout(60)

SITE: Final = f"""
[access_keys.{KEY_ID}]
secret_access_key = "{SECRET}"

[access_keys.AKIDOTHER]
secret_access_key = "another/secret-of-the-lab"
"""
OPERATION: Final = "ListHyperParameterTuningJobs"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder: Path = tmp_path_factory.mktemp("keys")
    config = folder / "tunesmith.toml"
    config.write_text(SITE, encoding="utf-8")
    server = ServerProcess(folder / "data", runner=False, config=config)
    try:
        yield server.start()
    finally:
        server.close()


def code(call: Callable[[], Any]) -> str:
    """Give the name of the error that a call is refused with."""
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return str(error.value.response["Error"]["Code"])


@pytest.mark.parametrize("region", ["eu-central-1", "us-west-2"])
def test_every_key_of_the_site_is_let_in_from_every_region(
    guarded: ServerProcess, region: str
) -> None:
    for key_id, secret in ((KEY_ID, SECRET), ("AKIDOTHER", "another/secret-of-the-lab")):
        client = sagemaker(guarded.http, key_id=key_id, secret=secret, region=region)
        assert client.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []


def test_an_unknown_key_and_a_wrong_secret_are_told_apart(guarded: ServerProcess) -> None:
    unknown = sagemaker(guarded.http, key_id="AKIDNOBODY")
    assert code(unknown.list_hyper_parameter_tuning_jobs) == "UnrecognizedClientException"
    wrong = sagemaker(guarded.http, secret=f"{SECRET}x")
    assert code(wrong.list_hyper_parameter_tuning_jobs) == "InvalidSignatureException"


def test_a_body_that_is_changed_after_signing_is_refused(guarded: ServerProcess) -> None:
    client = sagemaker(guarded.http)

    def change(request: Any, **_: Any) -> None:
        request.body = b'{"MaxResults": 99}'

    client.meta.events.register(f"before-send.sagemaker.{OPERATION}", change)
    assert code(client.list_hyper_parameter_tuning_jobs) == "InvalidSignatureException"


def test_a_request_that_was_signed_long_ago_is_refused(guarded: ServerProcess) -> None:
    client = sagemaker(guarded.http)

    def age(request: Any, **_: Any) -> None:
        request.headers["X-Amz-Date"] = "20200101T000000Z"
        said = request.headers["Authorization"].decode()
        scope = said.split("Credential=")[1].split("/")[1]
        request.headers["Authorization"] = said.replace(f"/{scope}/", "/20200101/")

    client.meta.events.register(f"before-send.sagemaker.{OPERATION}", age)
    assert code(client.list_hyper_parameter_tuning_jobs) == "InvalidSignatureException"


def test_a_request_without_a_signature_is_refused_whatever_else_it_says(
    guarded: ServerProcess,
) -> None:
    host, _, port = guarded.http.rpartition(":")
    for body in (b"{}", b"nonsense"):
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("POST", "/", body, {"X-Amz-Target": f"SageMaker.{OPERATION}"})
        told = json.loads(connection.getresponse().read())
        connection.close()
        assert told["__type"] == "MissingAuthenticationTokenException"


def test_whoever_has_a_key_may_call_the_server_by_any_name(guarded: ServerProcess) -> None:
    client = sagemaker(guarded.http)

    def rename(request: Any, **_: Any) -> None:
        request.headers["Host"] = "tuning.lab"

    client.meta.events.register(f"before-sign.sagemaker.{OPERATION}", rename)
    assert client.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []


def test_liveness_needs_no_key(guarded: ServerProcess) -> None:
    host, _, port = guarded.http.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


def test_no_secret_is_in_the_log(guarded: ServerProcess) -> None:
    with Calls(guarded.address) as calls:
        assert calls.is_serving()
    assert SECRET not in guarded.log_text()
