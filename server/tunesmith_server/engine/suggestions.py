"""Where configurations come from: a strategy's design, or an optimiser on a compute worker.

Nothing of a strategy needs to be stored. A design's suggestion is a pure function of the search
space, the seed and the launch index, an optimiser's of those, the ends so far and what is pending:
what is made anew after a restart goes on where the last one was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from tunesmith_core.designs.grid import GridDesign
from tunesmith_core.designs.random import RandomDesign
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.space.encoding import render
from tunesmith_core.space.ranges import Configuration
from tunesmith_server.domain.errors import NotServed
from tunesmith_server.domain.events import SuggestionsArrived
from tunesmith_server.domain.tuning_job import JobSpec, Strategy
from tunesmith_server.engine.compute import Compute
from tunesmith_server.engine.model_suggestions import ModelSuggester
from tunesmith_server.store.store import Store


class Suggester(Protocol):
    """Answer one tuning job's asks, one at a time."""

    @property
    def learns(self) -> bool:
        """Tell whether suggestions depend on what trials gave."""

    async def suggest(self, *, first_index: int, count: int) -> SuggestionsArrived:
        """Give the configurations with launch indices from ``first_index``, counted from 1.

        Fewer than ``count`` may come, and the rest has to be asked for anew.
        """

    def close(self) -> None:
        """Let go of what is kept for the tuning job, which asks no more."""


class _Design(Protocol):
    def configuration(self, k: int) -> Configuration: ...


class DesignSuggester:
    """Answer from a design, off the event loop."""

    learns: Final = False

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._design: _Design | None = None

    async def suggest(self, *, first_index: int, count: int) -> SuggestionsArrived:
        """Give the configurations with launch indices from ``first_index``, counted from 1."""
        return await asyncio.to_thread(self._suggest, first_index, count)

    def close(self) -> None:
        """Keep nothing that would have to be let go of."""

    def _suggest(self, first_index: int, count: int) -> SuggestionsArrived:
        if self._design is None:
            self._design = make_design(self._spec)
        configurations: list[Mapping[str, str]] = []
        for k in range(first_index - 1, first_index - 1 + count):
            try:
                configuration = self._design.configuration(k)
            except SpaceExhausted:
                return SuggestionsArrived(configurations=tuple(configurations), exhausted=True)
            configurations.append({name: render(value) for name, value in configuration.items()})
        return SuggestionsArrived(configurations=tuple(configurations), exhausted=False)


def make_suggester(spec: JobSpec, *, job_id: int, store: Store, compute: Compute) -> Suggester:
    """Make what answers a tuning job's asks.

    Args:
        spec: What the tuning job asks for.
        job_id: The store's number for it.
        store: Has its training jobs.
        compute: Has the workers on which optimisers are.
    """
    if spec.strategy is Strategy.BAYESIAN:
        return ModelSuggester(spec, job_id=job_id, store=store, worker=compute.worker_of(job_id))
    return DesignSuggester(spec)


def make_design(spec: JobSpec) -> _Design:
    """Make the design of a tuning job's strategy.

    Raises:
        NotServed: The strategy has none, or is not implemented in this release.
    """
    match spec.strategy:
        case Strategy.RANDOM:
            return RandomDesign(spec.space, spec.seed)
        case Strategy.GRID:
            return GridDesign(spec.space, spec.seed)
        case Strategy.BAYESIAN:
            raise NotServed(
                "Strategy Bayesian has no design: it is asked through a compute worker."
            )
        case Strategy.HYPERBAND:
            raise NotServed(f"Strategy {spec.strategy} is not implemented in this release.")
