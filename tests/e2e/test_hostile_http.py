"""Whatever is sent to the HTTP port, the server answers in AWS's words and goes on serving."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.harness import ServerProcess

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("unharmed")]

JSON_TYPE = "application/x-amz-json-1.1"
LIST = "SageMaker.ListHyperParameterTuningJobs"
#: For one answer, in seconds; generous, for a machine under load.
ANSWER_S = 30.0


@contextlib.contextmanager
def connected(server: ServerProcess) -> Iterator[http.client.HTTPConnection]:
    host, _, port = server.http.rpartition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), ANSWER_S)) as connection:
        yield connection


def post(
    server: ServerProcess,
    body: bytes,
    *,
    target: str | None = LIST,
    content_type: str | None = JSON_TYPE,
    headers: Mapping[str, str] | None = None,
    path: str = "/",
) -> tuple[http.client.HTTPResponse, bytes]:
    sent = dict(headers or {})
    if target is not None:
        sent["X-Amz-Target"] = target
    if content_type is not None:
        sent["Content-Type"] = content_type
    with connected(server) as connection:
        connection.request("POST", path, body, sent)
        answer = connection.getresponse()
        return answer, answer.read()


def refused(answer: tuple[http.client.HTTPResponse, bytes]) -> tuple[str, str]:
    """Give the error's name and message of an answer that refuses, as AWS's do."""
    response, body = answer
    assert response.status == 400
    assert response.getheader("Content-Type") == JSON_TYPE
    assert response.getheader("x-amzn-RequestId")
    told = json.loads(body)
    assert set(told) == {"__type", "message"}
    assert response.getheader("x-amzn-ErrorType") == told["__type"]
    return told["__type"], told["message"]


@pytest.mark.parametrize(
    "operation",
    [None, "", "SageMaker.", "SageMaker.Nothing", "Sagemaker." + LIST, LIST.lower(), "é" * 10_000],
)
def test_what_is_no_operation_is_refused_by_name(
    operation: str | None, target: ServerProcess
) -> None:
    sent = None if operation is None else operation.encode().decode("latin-1")
    name, message = refused(post(target, b"{}", target=sent))
    assert name == "UnknownOperationException"
    assert "X-Amz-Target" in message
    assert len(message) < 1500


def test_the_watch_which_is_a_stream_is_no_operation_here(target: ServerProcess) -> None:
    name, _ = refused(post(target, b"{}", target="SageMaker.WatchHyperParameterTuningJob"))
    assert name == "UnknownOperationException"


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/json", "application/x-amz-json-1.0"]
)
def test_another_content_type_is_refused(content_type: str | None, target: ServerProcess) -> None:
    name, message = refused(post(target, b"{}", content_type=content_type))
    assert name == "UnknownOperationException"
    assert JSON_TYPE in message


def test_a_content_type_may_have_parameters(target: ServerProcess) -> None:
    response, _ = post(target, b"{}", content_type="Application/X-Amz-Json-1.1; charset=utf-8")
    assert response.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b"[" * 1_000_000,
        b'{"MaxResults":' + b"1" * 1_000_000 + b"}",
        b"x" * 4_000_000,
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, target: ServerProcess) -> None:
    name, message = refused(post(target, body))
    assert name == "SerializationException"
    assert len(message) < 1000


def test_a_body_that_is_too_long_is_refused_and_not_read(target: ServerProcess) -> None:
    with connected(target) as connection:
        connection.putrequest("POST", "/")
        for name, value in (("Content-Type", JSON_TYPE), ("X-Amz-Target", LIST)):
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        with contextlib.suppress(OSError):
            for _ in range(5):
                connection.send(b" " * 2**20)
        response = connection.getresponse()
        name, message = refused((response, response.read()))
    assert name == "SerializationException"
    assert "4194304 bytes" in message


def test_millions_of_tiny_values_are_refused_in_bounded_memory(target: ServerProcess) -> None:
    body = b'{"Tags":[' + b",".join([b"{}"] * 1_300_000) + b"]}"
    create = "SageMaker.CreateHyperParameterTuningJob"
    name, message = refused(post(target, body, target=create))
    assert name == "ValidationException"
    assert "'tags'" in message


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7071", "127.0.0.1.evil.example", ""]
)
def test_a_name_that_is_not_this_hosts_own_is_refused(host: str, target: ServerProcess) -> None:
    name, message = refused(post(target, b"{}", headers={"Host": host}))
    assert name == "AccessDeniedException"
    assert "access_keys" in message


def test_another_path_or_method_is_not_there(target: ServerProcess) -> None:
    response, _ = post(target, b"{}", path="/elsewhere")
    assert response.status == 404
    with connected(target) as connection:
        connection.request("GET", "/")
        assert connection.getresponse().status == 405


def test_liveness_is_told(target: ServerProcess) -> None:
    with connected(target) as connection:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"ok\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
    ],
)
def test_what_is_no_http_ends_its_connection_alone(sent: bytes, target: ServerProcess) -> None:
    host, _, port = target.http.rpartition(":")
    place = (host, int(port))
    with contextlib.suppress(OSError), socket.create_connection(place, ANSWER_S) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    response, _ = post(target, b"{}")
    assert response.status == 200
