"""The floors of docs/architecture.md are kept, and pure code is pure."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.repository import ROOT, SOURCE_ROOTS, shown

PURE = (
    ROOT / "core" / "tunesmith_core",
    ROOT / "server" / "tunesmith_server" / "domain",
)
SERVER = ROOT / "server" / "tunesmith_server"


def modules(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def names_read(tree: ast.AST) -> Iterator[str]:
    """Give every dotted name that code mentions, such as ``datetime.now``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            yield ast.unparse(node)


@pytest.mark.timeout(60)
def test_modules_import_only_from_floors_below() -> None:
    path = os.pathsep.join(str(root) for root in SOURCE_ROOTS)
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_pure_code_awaits_nothing() -> None:
    waiting = [
        f"{shown(path)}:{node.lineno}"
        for path in modules(*PURE)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    assert modules(*PURE)
    assert waiting == []


def test_pure_code_reads_no_clock() -> None:
    clocks = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today")
    readers = [
        f"{shown(path)}: {name}"
        for path in modules(*PURE)
        for name in names_read(ast.parse(path.read_bytes()))
        if name.endswith(clocks)
    ]
    assert readers == []


def test_statuses_of_calls_are_chosen_in_one_table() -> None:
    users = {
        shown(path)
        for path in modules(SERVER)
        for name in names_read(ast.parse(path.read_bytes()))
        if name.startswith("grpc.StatusCode")
    }
    assert users == {"server/tunesmith_server/operations/error_table.py"}
