"""Suggestions of an optimiser that learns from what trials gave, on a compute worker.

Before it is asked, the optimiser is told what is new in the store: only that, while it is on the
same process and was told all before; everything from the beginning otherwise. Both come to the
same suggestion.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tunesmith_server.domain.errors import StoreUnavailable
from tunesmith_server.domain.events import SuggestionsArrived
from tunesmith_server.domain.history import Knowledge, News, Trace, learn, new_traces
from tunesmith_server.domain.tuning_job import JobSpec
from tunesmith_server.domain.warm_start import Lessons, lessons_of
from tunesmith_server.engine.compute import Connection, Worker, WorkerLost
from tunesmith_server.engine.compute_messages import Answer, Begin, Forget, Learn, Message
from tunesmith_server.store.store import Store

logger = logging.getLogger(__name__)

#: An ask is tried so often; a worker that died each time will die again.
_ATTEMPTS: Final = 3
#: Pause before the store is read again after it could not be.
_RETRY_PAUSE_S: Final = 0.5
#: One turn of the worker gives at most so many, so that other tuning jobs have theirs.
_COUNT_PER_TURN: Final = 8
#: Ends told in one message.
_ENDS_PER_MESSAGE: Final = 500


class SuggestionFault(Exception):
    """The optimiser can't suggest; the tuning job can't go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """Say what the optimiser knows, and where it is.

    Attributes:
        connection: The process that has it.
        knowledge: What it was told.
    """

    connection: Connection
    knowledge: Knowledge


class ModelSuggester:
    """Answer one tuning job's asks from an optimiser, one at a time."""

    learns: Final = True

    def __init__(self, spec: JobSpec, *, job_id: int, store: Store, worker: Worker) -> None:
        self._spec = spec
        self._job_id = job_id
        self._store = store
        self._worker = worker
        self._told: _Told | None = None
        self._is_closed = False
        self._device: str | None = None

    @property
    def device(self) -> str | None:
        """Say what computed the latest suggestion."""
        return self._device

    async def suggest(
        self,
        *,
        first_index: int,  # noqa: ARG002 - what was launched before it is in the store
        count: int,
    ) -> SuggestionsArrived:
        """Give configurations for launches from ``first_index`` on, at least one if any is left.

        All before that have been launched: what was suggested and was not is forgotten.

        Raises:
            SuggestionFault: The optimiser broke down.
        """
        lost = 0
        while True:
            try:
                # Whoever dies over an ask is to be found out: only the first time with others.
                answer = await self._ask(min(count, _COUNT_PER_TURN), may_share=not lost)
            except WorkerLost as error:
                lost += 1
                if lost == _ATTEMPTS:
                    message = f"the compute worker was lost {lost} times, at last because {error}"
                    raise SuggestionFault(message) from None
            except StoreUnavailable as error:
                logger.warning("%s: %s; trying again", self._spec.name, error)
                await asyncio.sleep(_RETRY_PAUSE_S)
            else:
                if answer is not None:
                    return _arrived(answer)

    def close(self) -> None:
        """Have the worker let go of the optimiser."""
        self._is_closed = True
        self._told = None
        self._worker.post(Forget(job_id=self._job_id))

    async def _ask(self, count: int, *, may_share: bool) -> Answer | None:
        """Tell what is new, and ask; None: it was not possible at once, and nobody is to blame."""
        connection = await self._worker.connection()
        told, self._told = self._told, None  # until it has answered, nobody knows what it knows
        if told is not None and told.connection is not connection:
            told = None
        lessons = await self._lessons_of_parents() if told is None else None
        news = await self._news(Knowledge() if told is None else told.knowledge)
        if news is None:
            return None  # and all is told from the beginning
        has_value = news.knowledge.has_value or bool(self._spec.parents)
        if self._spec.is_seeded and has_value and not connection.is_warm:
            # Without a value known there is no model, and so no kernel is used.
            await connection.warmed()
            return None  # the history may have gone on
        # In company a suggestion is rounded differently: with a seed of its own it is computed alone.
        is_shared = may_share and not self._spec.is_seeded and self._is_on_gpu
        async with connection.turn(is_shared=is_shared):
            if connection.is_lost:
                return None
            if self._is_over():
                return Answer(number=0)  # the optimiser is forgotten, and nobody waits any more
            answer = await connection.ask(
                [*self._first_words(told, lessons), *self._lessons(news)],
                job_id=self._job_id,
                pending=news.pending,
                count=count,
            )
        if self._is_over():
            connection.post(Forget(job_id=self._job_id))
        if answer.fault:
            raise SuggestionFault(answer.fault)
        self._told = _Told(connection=connection, knowledge=news.knowledge)
        self._device = answer.device
        return answer

    @property
    def _is_on_gpu(self) -> bool:
        """Tell whether a GPU computed the latest suggestion."""
        return (self._device or "").startswith("gpu")

    def _is_over(self) -> bool:
        """Tell whether it was closed, which may happen in every wait."""
        return self._is_closed

    async def _news(self, knowledge: Knowledge) -> News | None:
        first_index = knowledge.first_unknown
        outcomes = await self._store.outcomes(self._job_id, first_index=first_index)
        return learn(knowledge, outcomes, await self._traces(new_traces(knowledge, outcomes)))

    async def _traces(self, indices: Collection[int]) -> Mapping[int, Trace]:
        """Say how far training jobs have come, where Hyperband judges them."""
        traces: dict[int, Trace] = {}
        definitions = self._spec.definitions
        for definition in definitions:
            terms, metric_name = definition.halving_terms, definition.metric_name
            if terms is None or not indices:
                continue
            for curve in await self._store.curves(self._job_id, metric_name, indices=indices):
                suggestion = curve.suggestion
                if len(definitions) == 1 or suggestion.definition_name == definition.name:
                    traces[curve.index] = terms.trace(
                        suggestion.parameters, curve.steps, curve.values
                    )
        return traces

    async def _lessons_of_parents(self) -> Lessons | None:
        parents = []
        for parent in self._spec.parents:
            news = learn(Knowledge(), await self._store.outcomes(parent.job_id))
            parents.append((parent.spec, () if news is None else news.ends))
        return lessons_of(self._spec, parents) if parents else None

    def _first_words(self, told: _Told | None, lessons: Lessons | None) -> Sequence[Message]:
        if told is not None:
            return ()
        begin = Begin(
            job_id=self._job_id,
            spaces={each.name: each.space for each in self._spec.definitions},
            seed=self._spec.seed,
            maximise=self._spec.goal.maximise,
            is_seeded=self._spec.is_seeded,
            lessons=lessons,
        )
        return (begin,)

    def _lessons(self, news: News) -> Iterator[Message]:
        for start in range(0, len(news.ends), _ENDS_PER_MESSAGE):
            ends = news.ends[start : start + _ENDS_PER_MESSAGE]
            yield Learn(job_id=self._job_id, ends=ends)


def _arrived(answer: Answer) -> SuggestionsArrived:
    return SuggestionsArrived(suggestions=tuple(answer.suggestions), exhausted=answer.exhausted)
