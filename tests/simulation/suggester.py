"""Answer a tuning job's asks at once: from its strategy's design, or from an optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tunesmith_core.designs.turns import Turns
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.space.encoding import render
from tunesmith_server.domain.effects import Suggest
from tunesmith_server.domain.events import SuggestionsArrived
from tunesmith_server.domain.history import Knowledge, Outcome, learn
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.tuning_job import JobSpec, Strategy
from tunesmith_server.engine.compute_messages import Ask, Begin, Learn
from tunesmith_server.engine.compute_worker import Searches
from tunesmith_server.engine.suggestions import make_design


class Suggester(Protocol):
    """Give configurations."""

    def answer(self, ask: Suggest, outcomes: Sequence[Outcome]) -> SuggestionsArrived:
        """Give what was asked for, or what is left.

        Args:
            ask: How many, and from which launch index on.
            outcomes: What has become of the tuning job's training jobs so far.
        """


def make_suggester(spec: JobSpec) -> Suggester:
    return _Model(spec) if spec.strategy is Strategy.BAYESIAN else _Design(spec)


class _Design:
    def __init__(self, spec: JobSpec) -> None:
        designs = [make_design(spec, definition) for definition in spec.definitions]
        self._turns = Turns(designs, spec.seed)
        self._names = [definition.name for definition in spec.definitions]

    def answer(self, ask: Suggest, _: Sequence[Outcome]) -> SuggestionsArrived:
        suggestions: list[Suggestion] = []
        for k in range(ask.first_index - 1, ask.first_index - 1 + ask.count):
            try:
                which, configuration = self._turns.choice(k)
            except SpaceExhausted:
                return SuggestionsArrived(suggestions=tuple(suggestions), exhausted=True)
            parameters = {name: render(value) for name, value in configuration.items()}
            name = self._names[which]
            suggestions.append(Suggestion(parameters=parameters, definition_name=name))
        return SuggestionsArrived(suggestions=tuple(suggestions), exhausted=False)


class _Model:
    """Do as a compute worker and its client do, in one process; a new one knows nothing yet."""

    def __init__(self, spec: JobSpec) -> None:
        self._searches = Searches(lambda: True)
        self._begin = Begin(
            job_id=1,
            spaces={definition.name: definition.space for definition in spec.definitions},
            seed=spec.seed,
            maximise=spec.goal.maximise,
            is_seeded=True,
        )
        self._knowledge: Knowledge | None = None

    def answer(self, ask: Suggest, outcomes: Sequence[Outcome]) -> SuggestionsArrived:
        assert len(outcomes) == ask.first_index - 1, "each launched trial, and no other, is known"
        if self._knowledge is None:
            self._knowledge = Knowledge()
            self._searches.begin(self._begin)
        news = learn(
            self._knowledge, [o for o in outcomes if o.index >= self._knowledge.first_unknown]
        )
        if news is None:
            self._knowledge = None
            return self.answer(ask, outcomes)
        self._knowledge = news.knowledge
        self._searches.learn(Learn(job_id=1, ends=news.ends))
        answer = self._searches.ask(Ask(number=1, job_id=1, pending=news.pending, count=ask.count))
        assert not answer.fault
        return SuggestionsArrived(suggestions=tuple(answer.suggestions), exhausted=answer.exhausted)
