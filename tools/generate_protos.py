"""Generate the Python code of the Protobuf contract.

One command, from the repository's root, with the Python of ``make protos-env``::

    .venv-protos/bin/python tools/generate_protos.py

Every file of ``protos/tunesmith/v1`` becomes ``*_pb2.py``, ``*_pb2_grpc.py`` and their ``.pyi``
in ``clients/python/tunesmith/v1``; ``buf/validate`` becomes ``clients/python/buf/validate``, since
no distribution provides it for ``google.protobuf``. ``google.api`` comes at run time from
googleapis-common-protos and is not generated.

The toolchain is pinned to the oldest that we promise: its output loads under protobuf 5.27 and
all later versions, while newer output refuses older runtimes. Not for other languages.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_OUT = ROOT / "clients" / "python"
TOOLCHAIN = {"grpcio-tools": "1.66.2", "mypy-protobuf": "3.6.0"}

_PACKAGE_DOCSTRING = (
    '"""Generated from protos/tunesmith/v1 by tools/generate_protos.py; do not edit."""\n'
)
_GENERATED_FOLDERS = ("tunesmith/v1", "buf/validate")


def main() -> int:
    """Generate the code and return the exit status."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the contract.")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="folder to write under (default: %(default)s)"
    )
    out: Path = parser.parse_args().out
    problem = toolchain_problem()
    if problem is not None:
        print(problem, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch)
        status = generate(staged)
        if status == 0:
            written = publish(staged, out)
            print(f"wrote {written} files under {out}")
    return status


def toolchain_problem() -> str | None:
    """Return what is wrong with the installed toolchain, or None."""
    wrong = []
    for name, wanted in TOOLCHAIN.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            wrong.append(f"{name} must be {wanted} and is {found}")
    if not wrong:
        return None
    return (
        f"{sys.executable} has not the pinned toolchain: {'; '.join(wrong)}. "
        "Run `make protos-env`, then .venv-protos/bin/python tools/generate_protos.py"
    )


def generate(out: Path) -> int:
    """Run protoc into an empty folder and return its exit status."""
    contract = sorted((ROOT / "protos" / "tunesmith" / "v1").glob("*.proto"))
    rules = ROOT / "third_party" / "buf" / "validate" / "validate.proto"
    status = _protoc(
        [f"--python_out={out}", f"--mypy_out=quiet:{out}"],
        [str(path) for path in (*contract, rules)],
    )
    if status == 0:
        status = _protoc(
            [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"],
            [str(path) for path in contract],
        )
    if status == 0:
        _drop_empty_stubs(out / "tunesmith" / "v1")
        (out / "tunesmith" / "v1" / "__init__.py").write_text(_PACKAGE_DOCSTRING, encoding="utf-8")
    return status


def publish(staged: Path, out: Path) -> int:
    """Replace the generated files under `out` by the staged ones and return their number."""
    fresh = {
        path.relative_to(staged): path.read_bytes()
        for folder in _GENERATED_FOLDERS
        for path in sorted((staged / folder).iterdir())
    }
    for folder in _GENERATED_FOLDERS:
        for old in (out / folder).glob("*_pb2*.py*"):
            if old.relative_to(out) not in fresh:
                old.unlink()
    for relative, content in fresh.items():
        target = out / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
    return len(fresh)


def _protoc(outputs: list[str], sources: list[str]) -> int:
    # The plugins of this very environment, whatever PATH says.
    tools = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--plugin=protoc-gen-mypy={tools / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={tools / 'protoc-gen-mypy_grpc'}",
        f"--proto_path={ROOT / 'protos'}",
        f"--proto_path={ROOT / 'third_party'}",
        *outputs,
        *sources,
    ]
    return subprocess.run(command, check=False).returncode


def _drop_empty_stubs(folder: Path) -> None:
    # The gRPC plugin writes a file for each source, services or not; ours end in _service.
    for path in folder.glob("*_pb2_grpc.py*"):
        if not path.name.startswith(tuple(_service_stems())):
            path.unlink()


def _service_stems() -> list[str]:
    folder = ROOT / "protos" / "tunesmith" / "v1"
    return [f"{path.stem}_pb2_grpc" for path in folder.glob("*_service.proto")]


if __name__ == "__main__":
    sys.exit(main())
