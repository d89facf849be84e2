"""How long trials run, in values of their objective, where a hyperparameter says so: its schedule.

Source: the API's ``HyperbandStrategyConfig``, whose ``MaxResource`` is taken from these
hyperparameters when it is not given; that they may be tuned is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith_core.space.ranges import Integer, Parameter, SearchSpace
from tunesmith_server.domain.names import EPOCHS


def is_schedule(parameter: Parameter) -> bool:
    """Tell whether a tuned hyperparameter says how long its trial runs."""
    return isinstance(parameter, Integer) and parameter.name in EPOCHS and parameter.lo >= 1


def full_schedule(space: SearchSpace, static: Mapping[str, str]) -> int:
    """Give the longest schedule of a definition's trials; 0: nothing says."""
    texts = [static[name] for name in EPOCHS if name in static]
    for text in texts:
        if text.isascii() and text.isdigit() and int(text[:20]):
            return int(text[:20])
    return max(
        (each.hi for each in space.parameters if isinstance(each, Integer) and is_schedule(each)),
        default=0,
    )
