"""Lay a range around one sensible value of a hyperparameter, or find that it is none to tune.

One range is published, an integer's: the hint 4 of ``max_depth`` gives 2 to 8 (SageMaker's
developer guide, "Define Hyperparameter Ranges"). The other rules are ours; docs/autotune.md has
them all with their reasons. Nothing here depends on the rest of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from tunesmith_core.errors import SpaceError
from tunesmith_core.space.encoding import parse_real, parse_whole
from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Parameter, Scaling
from tunesmith_server.domain.names import EPOCHS

STATIC_PREFIXES: Final = ("sagemaker_", "_")
"""How names begin that are orders to the platform. SageMaker's SDK sends its own as hints, such as
``sagemaker_container_log_level``, "20"."""

STATIC_NAMES: Final = frozenset(
    {
        *(name.replace("-", "_") for name in EPOCHS),
        "feature_dim",
        "max_epochs",
        "mini_batch_size",
        "n_jobs",
        "nthread",
        "num_class",
        "num_classes",
        "num_gpus",
        "num_training_samples",
        "num_workers",
        "random_seed",
        "random_state",
        "seed",
        "verbose",
        "verbosity",
    }
)
"""Names that describe the data or the run and not the model, in small letters with underscores.
SageMaker leaves ``feature_dim`` and ``mini_batch_size`` alone too, by an integration test of its
SDK."""

_TRUTHS: Final = (("true", "false"), ("True", "False"), ("TRUE", "FALSE"))
_SMALL, _LARGE = Decimal("0.1"), Decimal("0.9")


def choose_range(
    name: str,
    hint: str,
    *,
    specification: Mapping[str, Parameter | None] | None = None,
    is_grid: bool = False,
) -> Parameter | None:
    """Choose what a hyperparameter is tuned over; None: it stays at the hint.

    Args:
        name: The hyperparameter.
        hint: A value of it that makes sense, as it travels; at most 256 characters.
        specification: What the algorithm says of its hyperparameters, which goes before the hint;
            one that it does not call tunable is not tuned. None or empty: it says nothing.
        is_grid: Only lists of values can be searched.
    """
    chosen = specification.get(name) if specification else range_from_hint(name, hint)
    return None if is_grid and not isinstance(chosen, Categorical) else chosen


def range_from_hint(name: str, hint: str) -> Parameter | None:
    """Lay a range around a hint; None: by its name or hint the hyperparameter is none to tune.

    Args:
        name: The hyperparameter.
        hint: As it travels; at most 256 characters.
    """
    if name.startswith(STATIC_PREFIXES) or name.lower().replace("-", "_") in STATIC_NAMES:
        return None
    for values in _TRUTHS:
        if hint in values:
            return Categorical(name=name, values=values)
    try:
        if hint.lstrip("+-").isdecimal():
            return _around_whole(name, parse_whole(hint))
        parse_real(hint)
        return _around_real(name, Decimal(hint))
    except (SpaceError, ValueError, ArithmeticError):  # text, or bounds beyond what can be carried
        return None


def _around_whole(name: str, hint: int) -> Integer | None:
    if hint < 1:  # 0 and -1 mostly mean off, or without limit
        return None
    return Integer(name=name, lo=max(1, hint // 2), hi=2 * hint)


def _around_real(name: str, hint: Decimal) -> Continuous | None:
    """Lay a range in decimal arithmetic, so that its bounds look like the hint."""
    if hint <= 0:
        return None
    if hint < _SMALL:
        return _continuous(name, hint / 10, 10 * hint, Scaling.LOGARITHMIC)
    if hint <= _LARGE:
        return _continuous(name, hint / 2, min(2 * hint, (1 + hint) / 2))
    if hint < 1:
        rest = 1 - hint
        return _continuous(name, 1 - 10 * rest, 1 - rest / 10, Scaling.REVERSE_LOGARITHMIC)
    return _continuous(name, hint / 2, 2 * hint)


def _continuous(
    name: str, low: Decimal, high: Decimal, scaling: Scaling = Scaling.AUTO
) -> Continuous:
    return Continuous(name=name, lo=float(low), hi=float(high), scaling=scaling)
