"""What the contract's comments say agrees with what its annotations enforce."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2

from buf.validate import validate_pb2

ROOT = Path(__file__).resolve().parents[2]
_BESIDE_PYTHON = Path(sys.executable).parent
# Field numbers in descriptor.proto, of which source paths are made.
_MESSAGES, _FIELDS, _NESTED = 4, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Commented:
    """Hold a field with its comment as one line."""

    name: str
    comment: str
    field: descriptor_pb2.FieldDescriptorProto


def tool(name: str) -> str:
    found = shutil.which(name, path=str(_BESIDE_PYTHON)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing; `make install` gets it")
    return found


@pytest.fixture(scope="module")
def commented(tmp_path_factory: pytest.TempPathFactory) -> list[Commented]:
    image = tmp_path_factory.mktemp("image") / "contract.binpb"
    subprocess.run([tool("buf"), "build", "--output", image], cwd=ROOT, check=True, timeout=15)
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    ours = [file for file in files.file if file.package == "tunesmith.v1"]
    return [entry for file in ours for entry in commented_fields(file)]


def commented_fields(file: descriptor_pb2.FileDescriptorProto) -> Iterator[Commented]:
    comments = {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
    }
    pending: list[tuple[tuple[int, ...], descriptor_pb2.DescriptorProto]]
    pending = [((_MESSAGES, i), message) for i, message in enumerate(file.message_type)]
    while pending:
        path, message = pending.pop()
        if message.options.map_entry:
            continue
        nested = enumerate(message.nested_type)
        pending += [((*path, _NESTED, i), below) for i, below in nested]
        for i, field in enumerate(message.field):
            comment = comments.get((*path, _FIELDS, i), "")
            yield Commented(name=f"{message.name}.{field.name}", comment=comment, field=field)


def test_every_field_has_a_comment(commented: list[Commented]) -> None:
    assert len(commented) > 300
    assert [entry.name for entry in commented if not entry.comment] == []


def test_a_comment_begins_with_the_fields_behaviour(commented: list[Commented]) -> None:
    words = {
        "Required.": field_behavior_pb2.REQUIRED,
        "Output only.": field_behavior_pb2.OUTPUT_ONLY,
    }
    wrong = []
    for entry in commented:
        said = [behaviour for word, behaviour in words.items() if entry.comment.startswith(word)]
        annotated = entry.field.options.Extensions[field_behavior_pb2.field_behavior]
        if said != list(annotated):
            wrong.append(entry.name)
    assert wrong == []


def test_a_field_that_must_be_there_says_so(commented: list[Commented]) -> None:
    """The rule `required` reads "Required." in requests and "Always present." in answers."""
    wrong = [
        entry.name
        for entry in commented
        if entry.field.options.Extensions[validate_pb2.field].required
        and not entry.comment.startswith(("Required.", "Output only. Always present."))
    ]
    assert wrong == []


def test_comments_are_spelt_correctly() -> None:
    command = [tool("codespell"), str(ROOT / "protos")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=15
    )
    assert done.returncode == 0, done.stdout
