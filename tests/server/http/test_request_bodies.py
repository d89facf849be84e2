"""The room for bodies: of one, of all together, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tunesmith_server.domain.errors import MalformedRequest, Overloaded
from tunesmith_server.http import bodies
from tunesmith_server.http.bodies import MAX_BODIES_BYTES, Bodies
from tunesmith_server.operations.limits import MAX_REQUEST_BYTES


async def parts(*lengths: int) -> AsyncIterator[bytes]:
    for length in lengths:
        yield b"x" * length


async def test_a_body_comes_whole() -> None:
    async with Bodies().whole(parts(2, 0, 3)) as body:
        assert body == b"xxxxx"


async def test_a_body_that_is_too_long_is_refused_before_it_has_come() -> None:
    room = Bodies()
    half = MAX_REQUEST_BYTES // 2

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * half
        raise AssertionError("read on")

    with pytest.raises(MalformedRequest, match=str(MAX_REQUEST_BYTES)):
        async with room.whole(endless()):
            pass
    async with room.whole(parts(MAX_REQUEST_BYTES)) as body:
        assert len(body) == MAX_REQUEST_BYTES


async def test_all_bodies_together_are_bounded_and_give_their_room_back() -> None:
    room = Bodies()
    async with asyncio.TaskGroup() as tasks:
        gate = asyncio.Event()

        async def hold() -> None:
            async with room.whole(parts(MAX_REQUEST_BYTES)):
                await gate.wait()

        for _ in range(MAX_BODIES_BYTES // MAX_REQUEST_BYTES):
            tasks.create_task(hold())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            async with room.whole(parts(1)):
                pass
        gate.set()
    async with room.whole(parts(1)) as body:
        assert body == b"x"


async def test_a_body_that_does_not_come_in_time_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.01)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.get_running_loop().create_future()

    with pytest.raises(MalformedRequest, match="did not come within"):
        async with Bodies().whole(stuck()):
            pass


async def test_a_timeout_of_what_is_done_with_a_body_is_not_taken_for_one_of_the_body() -> None:
    with pytest.raises(TimeoutError):
        async with Bodies().whole(parts(1)):
            raise TimeoutError
