"""Call an HTTP application as a server does, without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.applications import Starlette

HEADERS: Final[Mapping[str, str]] = {
    "host": "127.0.0.1:7071",
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": "SageMaker.ListHyperParameterTuningJobs",
}


@dataclass(slots=True)
class Answer:
    """Hold what came back; nothing where the caller had gone."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def post(
    app: Starlette,
    parts: Iterable[bytes] = (b"{}",),
    *,
    headers: Mapping[str, str] = HEADERS,
    more_headers: Iterable[tuple[str, str]] = (),
    method: str = "POST",
    path: str = "/",
    leaves: bool = False,
) -> Answer:
    """Send a body in parts; a caller that ``leaves`` is gone after the last of them."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (name.encode(), value.encode()) for name, value in (*headers.items(), *more_headers)
        ],
    }
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if leaves:
        waiting.append({"type": "http.disconnect"})
    elif waiting:
        waiting[-1]["more_body"] = False
    answer = Answer()

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
