"""Addresses to listen on, ``HOST:PORT``, as users write them. Nothing is looked up."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_LAST_PORT: Final = 65_535
_ADDRESS: Final = re.compile(
    r"(\[(?P<v6>[^\[\]]*:[^\[\]]*)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})"
)
_AUTHORITY: Final = re.compile(r"(\[(?P<v6>[^\[\]]*)\]|(?P<host>[^\[\]:]*))(:[0-9]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Hold an address.

    Attributes:
        host: A name or an IP address, an IPv6 one without brackets; may be empty.
        port: 0 to 65535; 0 stands for a free one.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this host can reach it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address | None:
    """Read ``HOST:PORT``, with an IPv6 address in brackets; None if it is none."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > _LAST_PORT:
        return None
    return Address(host=found["v6"] or found["host"] or "", port=int(found["port"]))


def guess_address(text: str, *, port: int) -> str | None:
    """Guess which loopback address was meant by what is none; None where nothing is near.

    Args:
        text: What was written.
        port: The port where none was written.
    """
    before, _, after = text.rpartition(":")
    for host, given in ((text, str(port)), (before, after)):
        bare = host.strip("[]")
        if is_loopback(bare):
            written = f"[{bare}]" if ":" in bare else bare
            guess = f"{written}:{given}"
            return guess if parse_address(guess) else f"{written}:{port}"
    return None


def is_loopback(host: str) -> bool:
    """Tell whether a host's name or address is one by which a machine reaches itself alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(authority: str) -> str | None:
    """Give the host of a ``Host`` header, whose port may be missing; None if it is none."""
    found = _AUTHORITY.fullmatch(authority)
    return None if found is None else (found["v6"] or found["host"] or "").lower()
