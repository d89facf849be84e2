"""Servers on loopback that are none of Tunesmith's."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

import grpc

_PREFACE_BYTES: Final = 24
_HEADER_BYTES: Final = 9
_DATA, _HEADERS, _SETTINGS = 0x0, 0x1, 0x4
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
#: Statuses in HPACK's static table, as their indexed fields.
_STATUSES: Final = {200: b"\x88", 400: b"\x8c", 404: b"\x8d"}


@contextmanager
def grpc_server() -> Iterator[str]:
    """Serve gRPC without any service."""
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@contextmanager
def http2_server(status: int) -> Iterator[str]:
    """Answer every request over HTTP/2 with a status and a page, as a web server would."""
    with silent_server() as (address, listener):
        connections: list[socket.socket] = []
        thread = threading.Thread(target=_serve, args=(listener, status, connections))
        thread.start()
        try:
            yield address
        finally:
            for opened in (listener, *connections):
                with suppress(OSError):  # closed meanwhile
                    opened.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def silent_server() -> Iterator[tuple[str, socket.socket]]:
    """Take connections on a socket, and say nothing on them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}", listener


def _serve(listener: socket.socket, status: int, connections: list[socket.socket]) -> None:
    with suppress(OSError):  # the listener is shut down
        while True:
            connection, _ = listener.accept()
            connections.append(connection)
            with connection, suppress(OSError):
                _answer(connection, status)


def _answer(connection: socket.socket, status: int) -> None:
    _read(connection, _PREFACE_BYTES)
    connection.sendall(_frame(_SETTINGS, 0, 0, b""))
    while header := _read(connection, _HEADER_BYTES):
        kind, flags, stream = header[3], header[4], int.from_bytes(header[5:])
        _read(connection, int.from_bytes(header[:3]))
        if kind == _SETTINGS and not flags & _ACK:
            connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _HEADERS:
            connection.sendall(
                _frame(_HEADERS, _END_HEADERS, stream, _STATUSES[status])
                + _frame(_DATA, _END_STREAM, stream, b"<html></html>")
            )


def _read(connection: socket.socket, size_bytes: int) -> bytes:
    """Read so many bytes, or none at the end."""
    return connection.recv(size_bytes, socket.MSG_WAITALL) if size_bytes else b""


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload
