"""Read the text of SageMaker's JSON, and refuse what JSON's readers let pass in silence.

A key that comes twice, of which one would be lost; ``NaN`` and ``Infinity``, which are no JSON;
whole numbers of thousands of digits, which take their square of time. What the values mean is
``aws_json``'s.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final, NoReturn

#: More than any number has that a request can carry; Python reads as many, however it is set up.
_MAX_DIGITS: Final = 640


class JsonTextError(ValueError):
    """Say why a text is not read. Mend what the message names."""


def load_json(text: str) -> Any:
    """Give what a JSON text holds.

    Raises:
        JsonTextError: It has in it what would be lost or misread.
        json.JSONDecodeError: It is no JSON.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=without_repetition,
            parse_int=whole_number,
            parse_constant=_no_constant,
        )
    except RecursionError:
        raise JsonTextError("it is nested too deeply for a request") from None


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members.

    Raises:
        JsonTextError: A key comes twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise JsonTextError(f"the key {twice!r} comes twice in one object")
    return found


def whole_number(text: str) -> int:
    """Read decimal digits.

    Raises:
        JsonTextError: There are more than any member needs.
    """
    digits = len(text.lstrip("+-"))
    if digits > _MAX_DIGITS:
        raise JsonTextError(
            f"the whole number {text[:20]}… has {digits} digits; at most {_MAX_DIGITS} are read, "
            "which no member of a request needs"
        )
    return int(text)


def _no_constant(name: str) -> NoReturn:
    raise JsonTextError(f'{name} is no JSON; as a value it is written in quotes, "{name}"')
