"""Words for what is wrong with a site configuration: where it is, as TOML has it, and what is right."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, cast, get_args

from pydantic import BaseModel

from tunesmith_server.domain.validation.wording import excerpt

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
#: The table whose values are never shown.
_SECRETS: Final = "access_keys"

#: Where pydantic says that an error is about a table's name, not about what is in it.
_KEY: Final = "[key]"

#: What would be right, by the name that pydantic has for what is wrong.
_RIGHT: Final[Mapping[str, str]] = {
    "bool_type": "write true or false",
    "string_type": "write a text, in quotes",
    "int_type": "write a whole number",
    "float_type": "write a number",
    "list_type": "write a list, in square brackets",
    "dict_type": "write a table",
    "model_type": "write a table",
    "finite_number": "write a finite number",
    "greater_than": "write a number above {gt:.15g}",
    "greater_than_equal": "write a number from {ge:.15g}",
    "less_than_equal": "write a number up to {le:.15g}",
    "too_short": "give it at least one word",
    "string_too_short": "write at least {min_length} character",
    "string_too_long": "write at most {max_length} characters",
    "string_pattern_mismatch": "write it on one line",
    "too_long": "list at most {max_length}",
    "literal_error": "write {expected}",
}


def problem(item: ErrorDetails, whole: type[BaseModel]) -> str:
    """Word one of pydantic's errors.

    Args:
        item: The error.
        whole: The model of the whole file.
    """
    kind, where = item["type"], item["loc"]
    if kind == "extra_forbidden":
        return _unknown(where, whole)
    if kind == "missing":
        return f"{path_of(where)} is missing"
    facts = item.get("ctx", {})
    if kind == "value_error":
        right = str(facts["error"])
    else:
        right = _RIGHT.get(kind, item["msg"]).format_map(facts)
    if where[-1] == _KEY:
        return f"{path_of(where[:-1])} has a name that it cannot have; {right}"
    # A secret is not for logs and terminals, not even a wrong one, or one in a wrong place.
    value = "wrong" if _holds_secret(where, item["input"]) else shown(item["input"])
    return f"{path_of(where)} is {value}; {right}"


def _holds_secret(where: Sequence[str | int], value: object) -> bool:
    """Tell whether a value may be, or have in it, what a key or a password is."""
    return where[0] == _SECRETS or (where[-1] == "endpoint_url" and "@" in str(value))


def _unknown(where: Sequence[str | int], whole: type[BaseModel]) -> str:
    known = list(_section_at(where[:-1], whole).model_fields)
    similar = get_close_matches(str(where[-1]), known, n=1)
    hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}"
    return f"unknown setting {path_of(where)}; {hint}"


def _section_at(where: Sequence[str | int], whole: type[BaseModel]) -> type[BaseModel]:
    """Find the model of a table, along the tables and lists that it is in."""
    found: object = whole
    for step in where:
        if isinstance(found, type) and issubclass(found, BaseModel):
            found = found.model_fields[str(step)].annotation
        else:
            found = get_args(found)[-1]
    return cast("type[BaseModel]", found)


def path_of(where: Sequence[str | int]) -> str:
    """Write where a setting is as TOML has it, e.g. ``images."a:1".algorithm``."""
    text = ""
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if _BARE_KEY.fullmatch(step) else json.dumps(step, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


def shown(value: object) -> str:
    """Write a value as TOML has it, cut where it is long."""
    match value:
        case str():
            return json.dumps(excerpt(value), ensure_ascii=False)
        case dict():
            return "a table"
        case list():
            return "a list" if value else "empty"
        case _:
            return excerpt(value)
