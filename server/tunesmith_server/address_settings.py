"""The addresses of ``[server]``: what can be one, and what would be right."""

from __future__ import annotations

from typing import Final

from tunesmith_server.domain.addresses import guess_address, parse_address

DEFAULT_GRPC: Final = "127.0.0.1:7070"
DEFAULT_HTTP: Final = "127.0.0.1:7071"


def grpc_fault(address: str) -> str | None:
    """Refuse what is no HOST:PORT, or can be reached from other hosts."""
    found = parse_address(address)
    if found is None:
        return f"write {_completed(address, DEFAULT_GRPC)}"
    if not found.is_loopback:
        return (
            "this release listens on loopback addresses only, because it has neither TLS nor "
            f"tokens yet; write 127.0.0.1, localhost or [::1] before :{found.port}"
        )
    return None


def http_fault(address: str) -> str | None:
    """Refuse what is no HOST:PORT. Whether others may reach it is decided with the access keys."""
    found = parse_address(address)
    if found is None:
        return f"write {_completed(address, DEFAULT_HTTP)}"
    return None if found.host else f"write a host before :{found.port}, such as 127.0.0.1"


def _completed(address: str, default: str) -> str:
    """Guess the HOST:PORT that was meant."""
    port = int(default.rpartition(":")[2])
    return guess_address(address, port=port) or f"HOST:PORT, such as {default}"
