"""Serving in a loop that others own: where it listens, whom it waits for, how it ends."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tunesmith_server.domain.addresses import Address
from tunesmith_server.http import serving as module
from tunesmith_server.http.serving import serving

ANYWHERE = Address(host="127.0.0.1", port=0)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def app(gate: asyncio.Event | None = None) -> Starlette:
    async def answer(_request: Request) -> PlainTextResponse:
        if gate is not None:
            await gate.wait()
        return PlainTextResponse("here")

    return Starlette(routes=[Route("/", answer)])


async def answered(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(4)


async def test_it_answers_at_the_address_that_it_gives() -> None:
    async with serving(app(), ANYWHERE) as address:
        assert address.port
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(GET)
        assert await answered(reader) == b"here"
        writer.close()


async def test_a_name_is_served_at_all_its_addresses_with_one_port() -> None:
    async with serving(app(), Address(host="localhost", port=0)) as address:
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(GET)
        assert await answered(reader) == b"here"
        writer.close()


async def test_an_address_in_use_is_an_error_of_the_system() -> None:
    async with serving(app(), ANYWHERE) as address:
        with pytest.raises(OSError, match="in use"):
            async with serving(app(), address):
                pass


async def test_signals_stay_with_those_who_own_the_process() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with serving(app(), ANYWHERE):
        assert signal.getsignal(signal.SIGTERM) is before


async def test_a_call_under_way_is_answered_before_the_end() -> None:
    gate = asyncio.Event()
    async with asyncio.timeout(15), serving(app(gate), ANYWHERE) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(GET)
        asyncio.get_running_loop().call_later(0.3, gate.set)
        await asyncio.sleep(0.05)
    assert await answered(reader) == b"here"
    writer.close()


@pytest.mark.parametrize("sent", [b"", GET[:10], GET, GET + GET[:10]])
async def test_a_connection_on_which_nothing_more_is_asked_is_closed(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.1)
    async with serving(app(), ANYWHERE) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(sent)
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()


async def test_a_call_that_takes_long_is_not_taken_for_an_idle_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    gate = asyncio.Event()
    async with serving(app(gate), ANYWHERE) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(GET)
        await asyncio.sleep(0.4)
        gate.set()
        assert await answered(reader) == b"here"
        writer.close()


async def whole_answer(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str], bytes]:
    async with asyncio.timeout(10):
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
    return status.split(" ")[1].encode(), headers, body


async def test_what_is_no_http_is_refused_in_awss_form() -> None:
    async with serving(app(), ANYWHERE) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        status, headers, body = await whole_answer(reader)
        assert (status, await reader.read()) == (b"400", b"")
        writer.close()
    assert json.loads(body)["__type"] == headers["x-amzn-errortype"] == "SerializationException"
    assert headers["content-type"] == "application/x-amz-json-1.1"
    assert headers["connection"] == "close"
    assert headers["x-amzn-requestid"]


async def test_a_connection_beyond_the_limit_is_told_in_awss_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    async with serving(app(), ANYWHERE) as address:
        first = await asyncio.open_connection(address.host, address.port)
        first[1].write(GET)
        assert await answered(first[0]) == b"here"
        second = await asyncio.open_connection(address.host, address.port)
        second[1].write(GET)
        status, headers, body = await whole_answer(second[0])
        assert status == b"503"
        assert json.loads(body)["__type"] == headers["x-amzn-errortype"] == "ServiceUnavailable"
        assert headers["x-amzn-requestid"]
        for _, writer in (first, second):
            writer.close()


async def test_a_request_to_upgrade_is_passed_over_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(app(), ANYWHERE) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(GET.removesuffix(b"\r\n") + upgrade)
        assert await answered(reader) == b"here"
        writer.close()
    assert caplog.records == []
