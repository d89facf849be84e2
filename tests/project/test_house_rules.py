"""Habits that no linter checks for us."""

from __future__ import annotations

import ast
import re
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.project.repository import ROOT, our_files, shown

MAX_LINES = 600
TEXT = (".py", ".md", ".toml", ".sql", ".proto", ".yaml", ".json", ".sh", ".importlinter", "")


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Give a module's comments with their lines."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def test_no_module_is_too_long_to_be_read_alone() -> None:
    lengths = {
        shown(path): len(path.read_bytes().splitlines())
        for path in our_files(".py", ".sql", ".proto")
    }
    # Two protos hold the whole of SageMaker's request and response, one message after another.
    too_long = {name: n for name, n in lengths.items() if n > MAX_LINES and "protos/" not in name}
    assert too_long == {}


def test_every_silenced_check_says_which_and_why() -> None:
    bare = [
        f"{shown(path)}:{line}: {comment}"
        for path in our_files(".py")
        for line, comment in comments(path)
        if (re.search(r"# noqa", comment) and not re.search(r"# noqa: [A-Z0-9, ]+ - \w+", comment))
        or re.search(r"# type: ignore(?!\[[a-z, -]+\])", comment)
    ]
    assert bare == []


def test_nothing_is_left_to_be_done_in_a_comment() -> None:
    marker = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    left = [shown(path) for path in our_files(*TEXT) if marker.search(_text(path))]
    assert left == []


def test_no_file_knows_of_one_persons_machine() -> None:
    # A home directory, or a checkout at the root of somebody's disk.
    personal = re.compile(r"(?<![\w.<])/(?:root|home/\w+|Users/\w+|work)/\w")
    knowing = [
        f"{shown(path)}: {found.group()}"
        for path in our_files(*TEXT)
        if (found := personal.search(_text(path)))
    ]
    assert knowing == []


def test_test_files_have_names_of_their_own() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_generators_are_pinned_alike_where_they_are_installed_and_where_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = dict(
        entry.split("==") for entry in project["dependency-groups"]["protos"] if "==" in entry
    )
    tree = ast.parse((ROOT / "tools" / "generate_protos.py").read_bytes())
    checked = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TOOLCHAIN"
    )
    assert installed == checked


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
