"""Where configurations come from: the strategy's design, off the event loop.

A suggestion is a pure function of the search space, the seed and the launch index, so nothing
needs to be kept: a design made anew after a restart goes on where the last one was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from tunesmith_core.designs.grid import GridDesign
from tunesmith_core.designs.random import RandomDesign
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.space.encoding import render
from tunesmith_core.space.ranges import Configuration
from tunesmith_server.domain.errors import NotServed
from tunesmith_server.domain.events import SuggestionsArrived
from tunesmith_server.domain.tuning_job import JobSpec, Strategy


class _Design(Protocol):
    def configuration(self, k: int) -> Configuration: ...


class Suggester:
    """Answer one tuning job's asks, one at a time."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._design: _Design | None = None

    async def suggest(self, *, first_index: int, count: int) -> SuggestionsArrived:
        """Give the configurations with launch indices from ``first_index``, counted from 1."""
        return await asyncio.to_thread(self._suggest, first_index, count)

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


def make_design(spec: JobSpec) -> _Design:
    """Make the design of a tuning job's strategy.

    Raises:
        NotServed: The strategy is not implemented in this release.
    """
    match spec.strategy:
        case Strategy.RANDOM:
            return RandomDesign(spec.space, spec.seed)
        case Strategy.GRID:
            return GridDesign(spec.space, spec.seed)
        case Strategy.BAYESIAN | Strategy.HYPERBAND:
            raise NotServed(f"Strategy {spec.strategy} is not implemented in this release.")
