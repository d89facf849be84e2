"""The committed Python code is what the contract generates, and it loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "clients" / "python"
GENERATOR = ROOT / "tools" / "generate_protos.py"
TOOLCHAIN = ROOT / ".venv-protos" / "bin" / "python"
FOLDERS = ("tunesmith/v1", "buf/validate")


def generated_files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in FOLDERS
        for path in sorted((root / folder).glob("*.py*"))
    }


def test_committed_code_is_what_the_contract_generates(tmp_path: Path) -> None:
    if not TOOLCHAIN.exists():
        pytest.skip(f"{TOOLCHAIN} is missing; `make protos-env` makes it")
    subprocess.run([TOOLCHAIN, GENERATOR, "--out", tmp_path], check=True, timeout=15)
    fresh, committed = generated_files(tmp_path), generated_files(COMMITTED)
    assert len(fresh) > 40
    stale = sorted(
        name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name)
    )
    assert stale == [], (
        f"stale: {', '.join(stale)}; run .venv-protos/bin/python tools/generate_protos.py"
    )


def test_another_toolchain_is_refused_and_named(tmp_path: Path) -> None:
    # This test's own environment holds the newest protobuf, hence not the pinned toolchain.
    done = subprocess.run(
        [sys.executable, GENERATOR, "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=15,
    )
    assert done.returncode == 2
    assert "grpcio-tools must be 1.66.2" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_generated_code_loads_without_a_warning() -> None:
    modules = [
        name.removesuffix(".py").replace("/", ".")
        for name in generated_files(COMMITTED)
        if name.endswith(".py")
    ]
    imports = "\n".join(f"import {module}" for module in modules)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", imports],
        cwd=COMMITTED,
        capture_output=True,
        text=True,
        check=False,
        timeout=15,
    )
    assert done.returncode == 0, done.stderr
