"""Loader of the SQL files: every statement has a name and a line that says what it is for.

A file holds any number of statements, each begun by two comments::

    -- name: delete_tag
    -- Remove a tag, if it is there.
    DELETE FROM tags WHERE arn = :arn AND key = :key

Values are always bound. Where a statement has parts that SQL cannot bind, they stand in braces: a
listing's direction and the like, which ``listing.py`` fills in from a closed table, and the places
of as many rows as are inserted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Final

_MARK: Final = "-- name: "


class Statements(Mapping[str, str]):
    """Hold SQL statements by name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def filled(self, name: str, parts: Mapping[str, str]) -> str:
        """Give a statement with the parts in braces filled in."""
        return self._texts[name].format_map(parts)


def load_statements() -> Statements:
    """Read every statement of the ``queries`` folder."""
    texts: dict[str, str] = {}
    folder = resources.files("tunesmith_server.store") / "queries"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        for name, text in parse_statements(file.read_text(encoding="utf-8")):
            if name in texts:
                raise ValueError(f"{file.name} names a second statement {name}")
            texts[name] = text
    return Statements(texts)


def parse_statements(text: str) -> list[tuple[str, str]]:
    """Split the text of an SQL file into named statements; the purpose stays on top of each.

    Raises:
        ValueError: A statement has no purpose or no text, or something stands before the first.
    """
    before, *parts = ("\n" + text).split("\n" + _MARK)
    if before.strip():
        raise ValueError(f"expected {_MARK!r} before {before.strip()!r}")
    statements = []
    for part in parts:
        name, _, body = part.partition("\n")
        purpose, _, sql = body.partition("\n")
        if not purpose.startswith("-- ") or not sql.strip():
            raise ValueError(f"statement {name} needs a comment that says what it is for, and SQL")
        statements.append((name.strip(), body.strip()))
    return statements
