"""Where configurations come from: a strategy's design, or an optimiser on a compute worker.

Nothing of a strategy needs to be stored. A design's suggestion is a pure function of the search
space, the seed and the launch index, an optimiser's of those, the ends so far and what is pending:
what is made anew after a restart goes on where the last one was.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from tunesmith_core.designs.design import Design
from tunesmith_core.designs.grid import GridDesign
from tunesmith_core.designs.random import RandomDesign
from tunesmith_core.designs.turns import Turns
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.space.encoding import render
from tunesmith_server.domain.errors import NotServed
from tunesmith_server.domain.events import SuggestionsArrived
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.tuning_job import Definition, JobSpec, Strategy
from tunesmith_server.engine.compute import Compute
from tunesmith_server.engine.model_suggestions import ModelSuggester
from tunesmith_server.store.store import Store


class Suggester(Protocol):
    """Answer one tuning job's asks, one at a time."""

    @property
    def learns(self) -> bool:
        """Tell whether suggestions depend on what trials gave."""

    @property
    def device(self) -> str | None:
        """Say what computed the latest suggestion; None: no model has suggested anything yet."""

    async def suggest(self, *, first_index: int, count: int) -> SuggestionsArrived:
        """Give the configurations with launch indices from ``first_index``, counted from 1.

        Fewer than ``count`` may come, and the rest has to be asked for anew.
        """

    def close(self) -> None:
        """Let go of what is kept for the tuning job, which asks no more."""


class DesignSuggester:
    """Answer from the designs of the tuning job's definitions, off the event loop."""

    learns: Final = False
    device: Final = None

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._turns: Turns | None = None

    async def suggest(self, *, first_index: int, count: int) -> SuggestionsArrived:
        """Give the configurations with launch indices from ``first_index``, counted from 1."""
        return await asyncio.to_thread(self._suggest, first_index, count)

    def close(self) -> None:
        """Keep nothing that would have to be let go of."""

    def _suggest(self, first_index: int, count: int) -> SuggestionsArrived:
        spec = self._spec
        if self._turns is None:
            designs = [make_design(spec, definition) for definition in spec.definitions]
            self._turns = Turns(designs, spec.seed)
        suggestions: list[Suggestion] = []
        for k in range(first_index - 1, first_index - 1 + count):
            try:
                which, configuration = self._turns.choice(k)
            except SpaceExhausted:
                return SuggestionsArrived(suggestions=tuple(suggestions), exhausted=True)
            parameters = {name: render(value) for name, value in configuration.items()}
            definition_name = spec.definitions[which].name
            suggestions.append(Suggestion(parameters=parameters, definition_name=definition_name))
        return SuggestionsArrived(suggestions=tuple(suggestions), exhausted=False)


def make_suggester(spec: JobSpec, *, job_id: int, store: Store, compute: Compute) -> Suggester:
    """Make what answers a tuning job's asks.

    Args:
        spec: What the tuning job asks for.
        job_id: The store's number for it.
        store: Has its training jobs.
        compute: Has the workers on which optimisers are.
    """
    # A RandomSeed asks for the same configurations again, whatever was stopped when.
    is_free = spec.strategy is Strategy.HYPERBAND and not spec.is_seeded
    if spec.strategy is Strategy.BAYESIAN or is_free:
        return ModelSuggester(spec, job_id=job_id, store=store, worker=compute.worker_of(job_id))
    return DesignSuggester(spec)


def make_design(spec: JobSpec, definition: Definition) -> Design:
    """Make the design of a tuning job's strategy for one of its definitions.

    Raises:
        NotServed: The strategy has none, or is not implemented in this release.
    """
    match spec.strategy:
        case Strategy.RANDOM | Strategy.HYPERBAND:
            return RandomDesign(definition.space, spec.seed)
        case Strategy.GRID:
            return GridDesign(definition.space, spec.seed)
        case Strategy.BAYESIAN:
            raise NotServed(
                "Strategy Bayesian has no design: it is asked through a compute worker."
            )
