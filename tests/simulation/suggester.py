"""Answer a tuning job's asks from its strategy's design, at once."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith_core.designs import Design, GridDesign, RandomDesign
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.space.encoding import render
from tunesmith_server.domain.effects import Suggest
from tunesmith_server.domain.events import SuggestionsArrived
from tunesmith_server.domain.tuning_job import JobSpec, Strategy


class Suggester:
    """Give configurations by launch index."""

    def __init__(self, spec: JobSpec) -> None:
        self._design: Design = (
            GridDesign(spec.space, spec.seed)
            if spec.strategy is Strategy.GRID
            else RandomDesign(spec.space, spec.seed)
        )

    def answer(self, ask: Suggest) -> SuggestionsArrived:
        """Give what was asked for, or what is left."""
        configurations: list[Mapping[str, str]] = []
        for k in range(ask.first_index - 1, ask.first_index - 1 + ask.count):
            try:
                configuration = self._design.configuration(k)
            except SpaceExhausted:
                return SuggestionsArrived(configurations=tuple(configurations), exhausted=True)
            configurations.append({name: render(value) for name, value in configuration.items()})
        return SuggestionsArrived(configurations=tuple(configurations), exhausted=False)
