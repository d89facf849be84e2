"""What a strategy suggests: a configuration, and of which definition it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Hold what the next training job is to be run with.

    Attributes:
        parameters: The tuned hyperparameters, as the training script gets them.
        definition_name: ``DefinitionName`` of the definition, if that has one.
    """

    parameters: Mapping[str, str]
    definition_name: str | None = None
