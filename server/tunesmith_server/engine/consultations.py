"""Suggestions from a history that the caller keeps: nothing is stored, and a repeat is quick.

A consultation is answered by an optimiser on a compute worker that is told the whole history. A few
of those with a seed of the caller's are kept there: one that comes back with the same search space
and seed, and the same history with more at its end, has only that told.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, TypeAlias

from tunesmith_core.space.ranges import SearchSpace
from tunesmith_server.domain.errors import Overloaded, StoreUnavailable
from tunesmith_server.domain.history import Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.engine.compute import Compute, Connection, WorkerLost
from tunesmith_server.engine.compute_messages import (
    Answer,
    Begin,
    Forget,
    Learn,
    Message,
)

#: So many optimisers are kept.
_KEPT: Final = 16
#: So many questions are under way at a time.
_UNDER_WAY: Final = 64
_RETRY_AFTER: Final = timedelta(seconds=1)
_ENDS_PER_MESSAGE: Final = 500
#: One turn of the worker gives at most so many, so that others have theirs.
_COUNT_PER_TURN: Final = 8
_ATTEMPTS: Final = 2

_Key: TypeAlias = tuple[SearchSpace, bool, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Ask what to try next.

    Attributes:
        space: What is searched.
        maximise: Which way the objective is better.
        seed: Of the suggestions.
        is_seeded: The caller gave the seed: the answer depends on nothing but the question.
        history: What was tried, oldest first.
        pending: Configurations that are being evaluated.
        count: How many are wanted.
    """

    space: SearchSpace
    maximise: bool
    seed: int
    is_seeded: bool
    history: Sequence[Told]
    pending: Sequence[Suggestion]
    count: int

    @property
    def key(self) -> _Key:
        """Give what must be the same for an optimiser to be used again."""
        return self.space, self.maximise, self.seed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Hold what an optimiser on a worker knows."""

    number: int
    connection: Connection
    told: tuple[Told, ...]


class ConsultationFailed(Exception):
    """The optimiser broke down: a fault of ours."""


class Consultations:
    """Answer questions; several at once take turns on the workers."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        # Below 0, where no tuning job is.
        self._numbers = itertools.count(-1, -1)
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._under_way = 0

    async def suggest(self, question: Question) -> Sequence[Suggestion]:
        """Give configurations, fewer than were wanted if a finite space has no more.

        Raises:
            Overloaded: Too many questions are under way.
            StoreUnavailable: No compute worker lives long enough to answer.
            ConsultationFailed: The optimiser broke down.
        """
        if self._under_way >= _UNDER_WAY:
            message = f"{self._under_way} questions are being answered; retry."
            raise Overloaded(message, retry_after=_RETRY_AFTER)
        self._under_way += 1
        try:
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(WorkerLost):
                    return await self._ask(question)
        finally:
            self._under_way -= 1
        raise StoreUnavailable("The compute worker died over this question; try again later.")

    async def _ask(self, question: Question) -> Sequence[Suggestion]:
        history = tuple(question.history)
        kept, first = await self._kept_for(question, history)
        news = [*first, *_lessons(kept.number, history[len(kept.told) :])]
        found: list[Suggestion] = []
        try:
            if question.is_seeded and not kept.connection.is_warm:
                await kept.connection.warmed()
            while len(found) < question.count:
                async with kept.connection.turn():
                    answer = await kept.connection.ask(
                        news,
                        job_id=kept.number,
                        pending=[*question.pending, *found],
                        count=min(question.count - len(found), _COUNT_PER_TURN),
                    )
                _check(answer)
                news = []
                found += answer.suggestions
                if answer.exhausted:
                    break
        except BaseException:  # also when its caller has gone
            self._let_go(kept)
            raise
        if question.is_seeded:
            self._keep(question.key, replace(kept, told=history))
        else:
            self._let_go(kept)  # nobody will ask under a seed that was drawn
        return found

    async def _kept_for(
        self, question: Question, history: tuple[Told, ...]
    ) -> tuple[_Kept, Sequence[Message]]:
        """Take the optimiser that knows the beginning of a history, or a new one and its words."""
        # Out of reach of other questions meanwhile.
        kept = self._kept.pop(question.key, None)
        if kept is not None:
            if not kept.connection.is_lost and kept.told == history[: len(kept.told)]:
                return kept, ()
            self._let_go(kept)
        number = next(self._numbers)
        connection = await self._compute.worker_of(-number).connection()
        begin = Begin(
            job_id=number,
            spaces={None: question.space},
            seed=question.seed,
            maximise=question.maximise,
            is_seeded=question.is_seeded,
        )
        return _Kept(number=number, connection=connection, told=()), (begin,)

    def _keep(self, key: _Key, kept: _Kept) -> None:
        before = self._kept.pop(key, None)
        if before is not None:
            self._let_go(before)  # the same question was asked twice at once
        self._kept[key] = kept
        if len(self._kept) > _KEPT:
            _, oldest = self._kept.popitem(last=False)
            self._let_go(oldest)

    def _let_go(self, kept: _Kept) -> None:
        kept.connection.post(Forget(job_id=kept.number))


def _check(answer: Answer) -> None:
    if answer.fault:
        raise ConsultationFailed(answer.fault)


def _lessons(number: int, ends: Sequence[Told]) -> Iterator[Learn]:
    for start in range(0, len(ends), _ENDS_PER_MESSAGE):
        yield Learn(job_id=number, ends=ends[start : start + _ENDS_PER_MESSAGE])
