"""One tuning job's desk: where its callers ask for trials.

Asks are served in rounds, in the order in which they came. What a round needs is computed from
what is durable when it begins; what is likely to be asked for next is computed ahead, while nobody
waits. Suggestions are kept for exactly the state that they were computed for, with one exception:
without a ``RandomSeed`` those of a round are handed out even if trials have ended while they were
being computed. So a suggestion knows all but the trials that ended during one computation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import Overloaded
from tunesmith_server.domain.states import TuningJobStatus
from tunesmith_server.domain.tuning_job import JobState
from tunesmith_server.engine.coordinator import Coordinator
from tunesmith_server.engine.suggestions import Suggester

logger = logging.getLogger(__name__)

#: At most so many asks of one tuning job wait.
_ASK_LIMIT: Final = 10_000
_RETRY_AFTER: Final = timedelta(seconds=1)
#: So many suggestions are computed ahead where results make no difference to them.
_AHEAD: Final = 32


@dataclass(slots=True, kw_only=True)
class _Ask:
    """Hold one caller's wish.

    Attributes:
        client_id: Who asks.
        count: How many trials it wants to hold.
        deadline: It waits until then for a trial, by the event loop's clock.
        done: Done once its trials can be read off the tuning job's state, or none came in time.
        was_given: It has got a trial; it waits for no more than there are.
    """

    client_id: str
    count: int
    deadline: float
    done: asyncio.Future[None]
    was_given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """Hold suggestions that nobody has got yet.

    Attributes:
        first_index: Launch index of the first one.
        ended: How many trials had ended when they were computed.
        configurations: The suggestions.
        is_for_waiting: They were computed for asks that wait, which may have them whatever has
            ended since.
    """

    first_index: int = 0
    ended: int = 0
    configurations: tuple[Mapping[str, str], ...] = ()
    is_for_waiting: bool = False


class Desk:
    """Serve one tuning job's asks until it has ended.

    Args:
        coordinator: The tuning job.
        suggester: Where its configurations come from.
    """

    def __init__(self, coordinator: Coordinator, suggester: Suggester) -> None:
        self._coordinator = coordinator
        self._suggester = suggester
        self._asks: list[_Ask] = []
        self._ready = _Ready()
        # At once, past the rounds: so many asks, and what they were offered.
        self._asks_at_once = self._offered_at_once = 0
        self._change = asyncio.Event()

    async def ask(self, client_id: str, *, count: int, max_wait_s: float) -> None:
        """Wait until the caller holds ``count`` trials, or as many as there can be now.

        Args:
            client_id: Who asks.
            count: How many trials it wants to hold.
            max_wait_s: While there is no other trial to be had, it waits so long for one.

        Raises:
            Overloaded: Too many asks wait already.
            StoreUnavailable: The trials could not be written down.
        """
        before = self._coordinator.state
        if await self._handed_out_at_once(client_id, count):
            return
        if self._coordinator.has_ended:
            return  # nobody serves here any more
        if len(self._asks) >= _ASK_LIMIT:
            message = f"{len(self._asks)} asks of tuning job {self._coordinator.name} wait; retry."
            raise Overloaded(message, retry_after=_RETRY_AFTER)
        loop = asyncio.get_running_loop()
        ask = _Ask(
            client_id=client_id,
            count=count,
            deadline=loop.time() + max_wait_s,
            done=loop.create_future(),
            was_given=self._has_been_given(client_id, since=before),
        )
        self._asks.append(ask)
        self._change.set()
        try:
            await ask.done
        finally:
            if not ask.done.done():
                ask.done.cancel()

    async def _handed_out_at_once(self, client_id: str, count: int) -> bool:
        """Serve an ask without a round, where nobody waits and all that it takes is ready.

        Several may be under way: each is offered what comes after the last one's. If that one
        launches less than it was offered, this one launches nothing, and has to wait for a round.

        Raises:
            StoreUnavailable: The trials could not be written down.
            Overloaded: Too much is queued.
        """
        state, ready = self._coordinator.state, self._ready
        if self._asks or not self._fits(state):
            return False
        lacking = count - len(state.held_by(client_id))
        places = state.launchable - self._offered_at_once
        if not 0 < lacking <= min(places, len(ready.configurations)):
            return False
        if any(trial.lease is None for trial in state.trials.values()):
            return False
        event = ev.TrialsRequested(
            client_id=client_id,
            count=count,
            first_index=ready.first_index,
            configurations=ready.configurations[:lacking],
            ended=None if self._is_lenient(ready) else ready.ended,
        )
        self._ready = replace(
            ready,
            first_index=ready.first_index + lacking,
            configurations=ready.configurations[lacking:],
            is_for_waiting=False,
        )
        self._asks_at_once += 1
        self._offered_at_once += lacking
        try:
            await self._coordinator.post(event)
        finally:
            self._asks_at_once -= 1
            self._offered_at_once -= lacking
            self._change.set()
        # Else a trial had ended for whose result the suggestion had to wait.
        return len(self._coordinator.state.held_by(client_id)) >= count

    def wake(self) -> None:
        """Take note that the tuning job has changed."""
        state = self._coordinator.state
        if self._asks or self._lacks_ahead(state) or not state.goes_on:
            self._change.set()

    async def run(self) -> None:
        """Serve until the tuning job has ended."""
        while not self._coordinator.has_ended:
            self._change.clear()
            if await self._work():
                continue
            # What is being handed out at once ends with a change, however late other asks are.
            until = None if self._asks_at_once else self._next_deadline()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._change.wait()
        self._answer_the_settled(self._coordinator.state, Counter(), 0)

    async def _work(self) -> bool:
        """Do the next thing; False: there is nothing to do until something changes."""
        state = self._coordinator.state
        if self._asks_at_once or not (self._asks or self._lacks_ahead(state)):
            return False
        held = _held(state)
        waiting = sum(trial.lease is None for trial in state.trials.values())
        self._answer_the_settled(state, held, waiting)
        wanted = self._wanted(held)
        new = min(max(0, sum(wanted.values()) - waiting), state.launchable)
        if (new and not self._fits(state)) or (not wanted and self._lacks_ahead(state)):
            await self._compute(state, new or 1)
            return True
        if new or (wanted and waiting):
            await self._hand_out(wanted, held, waiting, new)
            return True
        return False

    def _answer_the_settled(self, state: JobState, held: Counter[str], waiting: int) -> None:
        """Answer the asks that have what they want, or for which there is nothing in time.

        While the tuning job ends by itself they wait for its end, which tells them to come no more.
        """
        now = asyncio.get_running_loop().time()
        available = state.goes_on and (waiting or state.launchable)
        unsettled = []
        for ask in self._asks:
            if ask.done.done():
                continue  # its caller has gone
            if (
                held[ask.client_id] >= ask.count
                or state.job.status is not TuningJobStatus.IN_PROGRESS
                or (not available and (ask.was_given or ask.deadline <= now))
            ):
                ask.done.set_result(None)
            else:
                unsettled.append(ask)
        self._asks = unsettled

    def _wanted(self, held: Counter[str]) -> dict[str, int]:
        """Count what each caller lacks, first come first; its asks are all for the same trials."""
        counts: dict[str, int] = {}
        for ask in self._asks:
            counts[ask.client_id] = max(ask.count, counts.get(ask.client_id, 0))
        return {name: count - held[name] for name, count in counts.items() if count > held[name]}

    def _fits(self, state: JobState) -> bool:
        """Tell whether there are suggestions, for this state."""
        ready = self._ready
        launched = state.job.launched + self._offered_at_once
        if not ready.configurations or ready.first_index != launched + 1:
            return False
        return self._is_lenient(ready) or ready.ended == state.job.counters.ended

    def _lacks_ahead(self, state: JobState) -> bool:
        """Tell whether the next suggestion is to be computed, even if nobody asks for it yet."""
        return bool(state.launchable) and not self._fits(state)

    async def _compute(self, state: JobState, count: int) -> None:
        """Have suggestions computed for a state."""
        if not self._suggester.learns:
            count = max(count, _AHEAD)
        first_index = state.job.launched + 1
        try:
            arrived = await self._suggester.suggest(first_index=first_index, count=count)
        except Exception as error:
            logger.exception("%s: no suggestion", self._coordinator.name)
            failed = ev.SuggestionsFailed(reason=f"{type(error).__name__}: {error}")
            await self._coordinator.deliver(failed)
            return
        self._ready = _Ready(
            first_index=first_index,
            ended=state.job.counters.ended,
            configurations=tuple(each.parameters for each in arrived.suggestions),
            is_for_waiting=bool(self._asks) and not state.spec.is_seeded,
        )
        if arrived.exhausted and not arrived.suggestions:
            # Nobody's ask: what is said is that there is nothing left to ask for.
            nothing = ev.TrialsRequested(
                client_id="", count=0, first_index=first_index, exhausted=True
            )
            await self._coordinator.deliver(nothing)

    async def _hand_out(
        self, wanted: Mapping[str, int], held: Counter[str], waiting: int, new: int
    ) -> None:
        """Give callers what they lack: trials that wait first, then ``new`` ones at most."""
        ready = self._ready
        index, left = ready.first_index, ready.configurations[:new]
        before = self._coordinator.state
        posted: dict[str, asyncio.Future[None]] = {}
        for client_id, lacking in wanted.items():
            old = min(waiting, lacking)
            taken = left[: lacking - old]
            if not old and not taken:
                break
            event = ev.TrialsRequested(
                client_id=client_id,
                count=held[client_id] + old + len(taken),
                first_index=index,
                configurations=taken,
                ended=None if self._is_lenient(ready) else ready.ended,
            )
            posted[client_id] = self._coordinator.post(event)
            waiting, index, left = waiting - old, index + len(taken), left[len(taken) :]
        unused = ready.configurations[index - ready.first_index :]
        self._ready = replace(ready, first_index=index, configurations=unused, is_for_waiting=False)
        results = await asyncio.gather(*posted.values(), return_exceptions=True)
        for client_id, result in zip(posted, results, strict=True):
            if isinstance(result, BaseException):
                self._fail(client_id, result)
                continue
            if self._has_been_given(client_id, since=before):
                self._note_given(client_id)

    def _is_lenient(self, ready: _Ready) -> bool:
        """Tell whether suggestions may be launched whatever has ended meanwhile."""
        return not self._suggester.learns or ready.is_for_waiting

    def _has_been_given(self, client_id: str, *, since: JobState) -> bool:
        """Tell whether a caller holds what it did not hold; also a trial that it had once before."""
        had = {(trial.name, trial.lease_token) for trial in since.held_by(client_id)}
        has = self._coordinator.state.held_by(client_id)
        return any((trial.name, trial.lease_token) not in had for trial in has)

    def _note_given(self, client_id: str) -> None:
        for ask in self._asks:
            if ask.client_id == client_id:
                ask.was_given = True

    def _fail(self, client_id: str, error: BaseException) -> None:
        for ask in self._asks:
            if ask.client_id == client_id and not ask.done.done():
                ask.done.set_exception(error)

    def _next_deadline(self) -> float | None:
        return min((ask.deadline for ask in self._asks), default=None)


def _held(state: JobState) -> Counter[str]:
    """Count the trials that each caller holds and is to go on with."""
    return Counter(
        trial.lease.instance_id
        for trial in state.trials.values()
        if trial.lease is not None and not trial.stop_requested
    )
