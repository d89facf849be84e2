"""Serve an HTTP application in the running loop, beside whatever else runs there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tunesmith_server.domain.addresses import Address
from tunesmith_server.http.refusals import BUSY, refusal

#: Connections beyond this are answered 503, which AWS clients repeat after a while.
MAX_CONNECTIONS: Final = 1024
#: A connection on which nothing is asked is closed after this long at least, in seconds, and after
#: twice as long at most, whether bytes trickle in or not.
IDLE_S: Final = 30.0
#: A request line and headers may have so many bytes in all.
MAX_HEAD_BYTES: Final = 64 * 1024
#: Calls under way at the end have this long to be answered.
_GRACE_S: Final = 2


class _Protocol(H11Protocol):
    """Close a connection on which no call begins, and refuse as AWS does what is no HTTP.

    uvicorn itself waits for ever for a first call.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_again(None)

    def _look_again(self, last: object) -> None:
        self.loop.call_later(IDLE_S, self._close_if_idle, last)

    def _close_if_idle(self, last: object) -> None:
        if self.transport.is_closing():
            return
        # Before the first call there is none, whatever its type says.
        is_answering = not getattr(self.cycle, "response_complete", True)
        if self.cycle is last and not is_answering:
            self.transport.close()
        else:
            self._look_again(self.cycle)

    def _should_upgrade(self) -> bool:
        # A request to speak another protocol may be passed over (RFC 9110, section 7.8); uvicorn
        # does so with a warning, and with advice that is none here.
        return False

    def send_400_response(self, msg: str) -> None:
        response = refusal(400, "SerializationException", msg, headers={"connection": "close"})
        for event in (
            h11.Response(status_code=400, headers=response.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _Server(uvicorn.Server):
    """Leave signals to those who own the process, and say when calls are answered."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextlib.asynccontextmanager
async def serving(app: Starlette, address: Address) -> AsyncIterator[Address]:
    """Listen and serve within the block; gives the address with the port that was bound.

    Raises:
        OSError: The address can't be listened on.
    """
    sockets = await _listen(address)

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn's own answer beyond its limit has no name and no request id.
        if len(server.server_state.connections) < MAX_CONNECTIONS:
            await app(scope, receive, send)
            return
        told = f"There are {MAX_CONNECTIONS} connections; try again soon."
        await refusal(503, BUSY, told)(scope, receive, send)

    server = _Server(
        uvicorn.Config(
            bounded,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(2 * IDLE_S),
            timeout_graceful_shutdown=_GRACE_S,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets))
        await server.ready.wait()
        try:
            yield replace(address, port=sockets[0].getsockname()[1])
        finally:
            server.should_exit = True


async def _listen(address: Address) -> list[socket.socket]:
    """Bind every address that a host's name has, all with the same port."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for family, kind, protocol, _, place in found:
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.settimeout(0)
            listener.bind((place[0], port, *place[2:]))
            port = listener.getsockname()[1]
    except OSError:
        for listener in sockets:
            listener.close()
        raise
    return sockets
