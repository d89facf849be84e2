"""One tuning job's loop: events in order, decided by the domain, made durable, then acted on.

Events that wait while a commit is under way are decided and committed together. A decision
becomes the tuning job's state only once it is on disk; when the store refuses it, every event of
the group fails and the state is what it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from tunesmith_server.domain import effects as fx
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import AlreadyCompleted, Overloaded, StoreUnavailable
from tunesmith_server.domain.frozen import replace
from tunesmith_server.domain.lifecycle import step
from tunesmith_server.domain.tuning_job import JobState
from tunesmith_server.store.store import Commit, Store

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]

#: At most so many events are decided in one commit.
_GROUP_LIMIT: Final = 1000
#: At most so many events wait for their decision.
_MAILBOX_LIMIT: Final = 20_000
#: Pause before an event of the server's own is tried again after the store refused it.
_RETRY_PAUSE_S: Final = 0.5


class Actor(Protocol):
    """Carry out commands once the decision behind them is durable."""

    def act(self, coordinator: Coordinator, command: fx.Command) -> None:
        """Begin to carry out one command; never waits."""

    def committed(self, coordinator: Coordinator, durable: Sequence[fx.Durable]) -> None:
        """Take note that the tuning job's durable state changed, by what was written, in order."""


@dataclass(slots=True)
class _Item:
    event: ev.Event
    request_id: str | None
    done: asyncio.Future[None] | None  # None: nobody waits for it


@dataclass(slots=True)
class _Decision:
    """Hold what a group of events comes to, before it is durable."""

    state: JobState
    durable: list[fx.Durable] = field(default_factory=list)
    commands: list[fx.Command] = field(default_factory=list)
    decided: list[_Item] = field(default_factory=list)
    refused: list[tuple[_Item, Exception]] = field(default_factory=list)


class Coordinator:
    """Own one tuning job's state from its creation or recovery to its end."""

    def __init__(self, state: JobState, *, store: Store, clock: Clock, actor: Actor) -> None:
        self.state = state
        self._store = store
        self._clock = clock
        self._actor = actor
        self._mailbox: asyncio.Queue[_Item] = asyncio.Queue()

    @property
    def name(self) -> str:
        """Give the tuning job's name."""
        return self.state.spec.name

    @property
    def has_ended(self) -> bool:
        """Tell whether the tuning job is terminal, and so this loop is over."""
        return self.state.job.status.is_terminal

    def post(self, event: ev.Event, *, request_id: str | None = None) -> asyncio.Future[None]:
        """Hand in an event; the future is done once what it changed is durable.

        The future fails with the domain's error when the event is refused, and with
        StoreUnavailable or Overloaded when the store could not write.
        """
        done = asyncio.get_running_loop().create_future()
        if self.has_ended:
            self._finish_late(_Item(event, request_id, done))
        elif self._mailbox.qsize() >= _MAILBOX_LIMIT:
            message = f"Too many events of tuning job {self.name} are waiting; retry later."
            done.set_exception(Overloaded(message, retry_after=timedelta(seconds=1)))
        else:
            self._mailbox.put_nowait(_Item(event, request_id, done))
        return done

    async def deliver(self, event: ev.Event) -> None:
        """Hand in an event of the server's own, again and again until the store takes it."""
        while True:
            try:
                await self.post(event)
            except (StoreUnavailable, Overloaded) as error:
                logger.warning("%s: %s; trying again", self.name, error)
                await asyncio.sleep(_RETRY_PAUSE_S)
            else:
                return

    async def run(self) -> None:
        """Decide events until the tuning job has ended."""
        while not self.has_ended:
            await self._decide(await self._next_group())
        while not self._mailbox.empty():
            self._finish_late(self._mailbox.get_nowait())

    async def _next_group(self) -> list[_Item]:
        """Take the events that wait; else wait for one, or for the tuning job's deadline."""
        deadline = self.state.deadline
        if deadline is not None and self._clock() >= deadline:
            return [_Item(ev.DeadlinePassed(), None, None)]  # however much else there is to do
        group = [await self._next_item()] if self._mailbox.empty() else []
        # A commit records one request id, so that an event with one is the last of its group.
        while len(group) < _GROUP_LIMIT and not self._mailbox.empty():
            if group and group[-1].request_id is not None:
                break
            group.append(self._mailbox.get_nowait())
        return group

    async def _next_item(self) -> _Item:
        deadline = self.state.deadline
        if deadline is None:
            return await self._mailbox.get()
        wait_s = max(0.0, (deadline - self._clock()).total_seconds())
        try:
            async with asyncio.timeout(wait_s):
                return await self._mailbox.get()
        except TimeoutError:
            return _Item(ev.DeadlinePassed(), None, None)

    async def _decide(self, group: Sequence[_Item]) -> None:
        decision = self._decision(group)
        try:
            state = await self._make_durable(decision)
        except Exception as error:  # noqa: BLE001 - reported to whoever waits, and logged there
            if len(group) > 1 and not isinstance(error, StoreUnavailable | Overloaded):
                # One of them cannot be written; the others can.
                for item in group:
                    await self._decide([item])
                return
            # Also what was refused: what it was refused for did not happen.
            for item in group:
                self._fail(item, error)
            await self._pause_after(group, error)
            return
        changed, self.state = state is not self.state, state
        for item, refusal in decision.refused:
            self._fail(item, refusal)
        for item in decision.decided:
            self._finish(item)
        for command in decision.commands:
            self._actor.act(self, command)
        if changed:
            self._actor.committed(self, decision.durable)

    def _decision(self, group: Iterable[_Item]) -> _Decision:
        """Decide one event after the other; each is refused for itself."""
        now = self._clock()
        decision = _Decision(state=self.state)
        for item in group:
            try:
                decision.state, effects = step(decision.state, item.event, now)
            except Exception as error:  # noqa: BLE001 - one event's error is that event's answer
                decision.refused.append((item, error))
            else:
                decision.decided.append(item)
                for effect in effects:
                    if isinstance(effect, fx.Command):
                        decision.commands.append(effect)
                    else:
                        decision.durable.append(effect)
        return decision

    async def _make_durable(self, decision: _Decision) -> JobState:
        state, durable = decision.state, decision.durable
        if not durable and state.job == self.state.job:
            return state
        state = replace(state, job=replace(state.job, version=self.state.job.version + 1))
        request_id = next((item.request_id for item in decision.decided if item.request_id), None)
        await self._store.commit(Commit(job=state.job, durable=durable, request_id=request_id))
        return state

    async def _pause_after(self, group: Iterable[_Item], error: Exception) -> None:
        """Keep a deadline that could not be written from spinning."""
        if any(isinstance(item.event, ev.DeadlinePassed) for item in group):
            logger.warning("%s: %s; trying again", self.name, error)
            await asyncio.sleep(_RETRY_PAUSE_S)

    def _finish_late(self, item: _Item) -> None:
        """Answer what came too late: nothing changes an ended tuning job.

        It is no error, except where a caller would take the answer for a promise.
        """
        if isinstance(item.event, ev.MetricsReported | ev.TrialCompleted):
            self._fail(item, AlreadyCompleted(item.event.trial_name))
        else:
            self._finish(item)

    @staticmethod
    def _finish(item: _Item) -> None:
        if item.done is not None and not item.done.done():
            item.done.set_result(None)

    @staticmethod
    def _fail(item: _Item, error: Exception) -> None:
        if item.done is not None and not item.done.done():
            item.done.set_exception(error)
