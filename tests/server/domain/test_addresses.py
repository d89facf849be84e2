"""Addresses as users write them."""

from __future__ import annotations

import pytest

from tunesmith_server.domain.addresses import Address, host_of, is_loopback, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:7071", "::1", 7071), ("a.lab:65535", "a.lab", 65535)],
)
def test_an_address_is_read_and_written_the_same(text: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert address == Address(host=host, port=port)
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "127.0.0.1", "::1:7071", "h:65536", "h:x", "[h]:1"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("::", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_only_names_of_this_host_alone_are_loopback(host: str, expected: bool) -> None:  # noqa: FBT001 - a test's parameter
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("LOCALHOST:7071", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:7071", "::1"),
        ("", ""),
        ("user@127.0.0.1:1", "user@127.0.0.1"),
        ("127.0.0.1:1:2", None),
    ],
)
def test_the_host_is_taken_from_its_header(header: str, host: str | None) -> None:
    assert host_of(header) == host
