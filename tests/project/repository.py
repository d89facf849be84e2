"""The repository as a folder of files: what the tests of the project's habits look at."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"

#: Roots of our own Python packages, as a program needs them on its path.
SOURCE_ROOTS: Final = (ROOT / "core", ROOT / "server", ROOT / "clients" / "python")

_NOT_OURS: Final = {".git", "third_party", "node_modules", "dist", "build"}
_GENERATED: Final = (
    ROOT / "clients" / "python" / "tunesmith" / "v1",
    ROOT / "clients" / "python" / "buf",
)


def our_files(*suffixes: str) -> Iterator[Path]:
    """Give the files that people of this project wrote, of any of these suffixes."""
    for folder, folders, names in os.walk(ROOT):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NOT_OURS
            and here / name not in _GENERATED
            and not name.endswith((".egg-info", "cache", "cache__"))
            and not (name.startswith(".") and name != ".ci")
        )
        yield from (here / name for name in sorted(names) if Path(name).suffix in suffixes)


def shown(path: Path) -> str:
    """Write a path as it is within the repository."""
    return str(path.relative_to(ROOT))


def page(name: str) -> str:
    """Read a page of the documentation."""
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """Split a page's prose by its headings of any level; a section ends where the next begins."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def code_blocks(text: str, language: str) -> list[str]:
    """Give a page's blocks of code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
