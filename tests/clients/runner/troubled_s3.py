"""An S3 of one object whose troubles the tests command; it speaks as much of the protocol as they need."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "data/a"
CONTENT = b"content"
_LISTED = (
    "<ListBucketResult><IsTruncated>false</IsTruncated>"
    f"<Contents><Key>{KEY}</Key><Size>{len(CONTENT)}</Size></Contents></ListBucketResult>"
)


class TroubledS3:
    """Hold what goes wrong, and what was asked.

    Attributes:
        failures: As many requests are refused as busy first.
        hangs: Whether a body stops in its middle.
        is_hanging: Is set when one has.
        asked: Requests by method.
        url: Where it is.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.hangs = False
        self.is_hanging = threading.Event()
        self.asked: Counter[str] = Counter()
        self.url = ""
        self._ends = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def serving(self) -> Iterator[TroubledS3]:
        """Serve on a loopback port for as long as the context lasts."""
        troubles = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                troubles.answer(self)

            def do_PUT(self) -> None:
                troubles.answer(self)

            def do_HEAD(self) -> None:
                troubles.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield self
            finally:
                self._ends.set()
                server.shutdown()
                thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request, or do not."""
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._lock:
            self.asked[handler.command] += 1
            is_busy = self.failures > 0
            self.failures -= is_busy
        if is_busy:
            _send(handler, 503, b"<Error><Code>SlowDown</Code></Error>")
        elif "list-type" in handler.path:
            _send(handler, 200, _LISTED.encode())
        elif handler.command == "GET" and self.hangs:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(CONTENT)))
            handler.end_headers()
            handler.wfile.write(CONTENT[:3])
            handler.wfile.flush()
            self.is_hanging.set()
            self._ends.wait()
            handler.close_connection = True
        else:
            _send(handler, 200, CONTENT if handler.command == "GET" else b"")


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.send_header("ETag", '"version"')
    handler.end_headers()
    handler.wfile.write(body)
