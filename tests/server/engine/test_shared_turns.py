"""Turns: whoever came first, alone or with others who share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tunesmith_server.engine.turns import Turns

ALONE, SHARED = False, True


class Crowd:
    """Callers that hold their turns until they are told to go."""

    def __init__(self, most: int) -> None:
        self.turns = Turns(most)
        self.within: list[int] = []
        self.leave = [asyncio.Event() for _ in range(9)]
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *shared: bool) -> None:
        for is_shared in shared:
            number = len(self.tasks)
            self.tasks.append(asyncio.create_task(self._take(number, is_shared=is_shared)))
        await settled()

    async def go(self, *numbers: int) -> None:
        for number in numbers:
            self.leave[number].set()
        await settled()

    async def give_up(self, number: int) -> None:
        self.tasks[number].cancel()
        await settled()

    async def _take(self, number: int, *, is_shared: bool) -> None:
        async with self.turns.turn(is_shared=is_shared):
            self.within.append(number)
            try:
                await self.leave[number].wait()
            finally:
                self.within.remove(number)


async def settled() -> None:
    """Let everybody go on who can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_that_do_not_share_come_one_after_the_other() -> None:
    crowd = Crowd(most=3)
    await crowd.come(ALONE, ALONE)
    assert crowd.within == [0]
    await crowd.go(0)
    assert crowd.within == [1]
    await crowd.go(1)
    assert crowd.within == []


async def test_those_that_share_are_there_at_once_up_to_a_number() -> None:
    crowd = Crowd(most=2)
    await crowd.come(SHARED, SHARED, SHARED)
    assert crowd.within == [0, 1]
    await crowd.go(1)
    assert crowd.within == [0, 2]


async def test_nobody_overtakes() -> None:
    crowd = Crowd(most=3)
    await crowd.come(SHARED, SHARED, ALONE, SHARED)
    assert crowd.within == [0, 1]
    await crowd.go(0)
    assert crowd.within == [1]
    await crowd.go(1)
    assert crowd.within == [2]
    await crowd.go(2)
    assert crowd.within == [3]


@pytest.mark.parametrize(
    ("who", "within"), [(0, [1]), (1, [0]), (2, [0, 1, 3]), (3, [0, 1])], ids=str
)
async def test_whoever_gives_up_leaves_the_others_their_turns(
    who: int, within: Sequence[int]
) -> None:
    crowd = Crowd(most=3)
    await crowd.come(SHARED, SHARED, ALONE, SHARED)
    await crowd.give_up(who)
    assert crowd.within == within
    await crowd.go(0, 1)
    assert crowd.within == ([3] if who == 2 else [2])
    await crowd.go(2)
    assert crowd.within == ([] if who == 3 else [3])
    await crowd.go(3)
    await crowd.come(ALONE)
    assert crowd.within == [4]
    await crowd.go(4)


async def test_a_turn_that_is_given_up_as_it_begins_is_passed_on() -> None:
    crowd = Crowd(most=3)
    await crowd.come(ALONE, ALONE, ALONE)
    crowd.leave[0].set()
    await asyncio.sleep(0)  # the first one leaves, and the second one's turn begins
    await crowd.give_up(1)
    assert crowd.within == [2]
