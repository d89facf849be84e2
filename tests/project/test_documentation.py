"""The reference pages name everything that there is, and nothing that there is not."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from google.protobuf.descriptor import MethodDescriptor
from pydantic import BaseModel

import tunesmith
from tests.project.repository import DOCS, ROOT, code_blocks, our_files, page, sections, shown
from tunesmith.runner import contract
from tunesmith.runner.environment import trial_environment
from tunesmith.v1 import runner_service_pb2, tuning_service_pb2
from tunesmith_server.cli import main
from tunesmith_server.domain.autotune import with_choices
from tunesmith_server.domain.hints import STATIC_NAMES, STATIC_PREFIXES
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.validation import validate_create
from tunesmith_server.domain.validation.unserved import SCRIPT_MODE, UNSERVED
from tunesmith_server.operations.error_table import INTERNAL, TABLE
from tunesmith_server.settings import SiteFile, load_settings

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")))


# --- gRPC ---------------------------------------------------------------------------------


def methods() -> Iterator[MethodDescriptor]:
    for proto in sorted((ROOT / "protos" / "tunesmith" / "v1").glob("*_service.proto")):
        module = importlib.import_module(f"tunesmith.v1.{proto.stem}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def test_every_rpc_is_documented() -> None:
    described = sections(page("api.md"))
    missing = [
        method.full_name
        for method in methods()
        if f"`{method.name}`" not in described.get(f"{method.containing_service.name}", "")
    ]
    assert len(list(methods())) > 15
    assert missing == []


def test_every_error_is_documented_as_the_table_has_it() -> None:
    text = sections(page("api.md"))["Errors"]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    wrong = [
        wire
        for wire in (*TABLE.values(), INTERNAL)
        if not any(
            f"`{wire.code.name}`" in row
            and f"`{wire.reason}`" in row
            and f"| {wire.http_status} |" in row
            for row in rows
        )
    ]
    assert wrong == []


def test_every_member_that_is_refused_is_documented() -> None:
    text = sections(page("api.md"))["Members that are refused by name"]
    listed = set(re.findall(r"^\| `([\w.\[\]]+)` \|", text, flags=re.MULTILINE))
    assert listed == set(UNSERVED)
    assert [name for name in SCRIPT_MODE if f"`{name}`" not in text] == []


def test_every_name_that_autotune_leaves_alone_is_documented() -> None:
    text = page("autotune.md")
    names = (*STATIC_NAMES, *(f"{prefix}…" for prefix in STATIC_PREFIXES))
    assert [name for name in names if f"`{name}`" not in text] == []


# --- the command line ---------------------------------------------------------------------


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Give every command that a user types, with the words to type."""
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            if not child.hidden:
                yield from commands(child, f"{path} {name}")
    else:
        yield path, command


def parameter_names(command: click.Command) -> set[str]:
    """Give what a page must name: every option that is not hidden, and every argument."""
    names: set[str] = set()
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            names.add(parameter.make_metavar(click.Context(command)).strip("[].").upper())
        elif isinstance(parameter, click.Option) and not parameter.hidden:
            names.update(name for name in parameter.opts if name.startswith("--"))
    return names


def test_every_command_has_a_section_with_all_its_parameters() -> None:
    described = sections(page("cli.md"))
    missing = [
        f"{path} {name}"
        for path, command in commands(main, "tunesmith")
        for name in ("a section", *sorted(parameter_names(command)))
        if name not in described.get(f"`{path}`", "") + "a section" * (f"`{path}`" in described)
    ]
    assert missing == []


def test_the_page_of_the_command_line_names_no_option_that_is_not_there() -> None:
    described = sections(page("cli.md"))
    common = {"--help", "--version", "--json", "--server"}
    known = {path: parameter_names(command) for path, command in commands(main, "tunesmith")}
    stale = [
        f"{heading}: {option}"
        for heading, text in described.items()
        if heading.startswith("`tunesmith ")
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
        if option not in known.get(heading.strip("`"), set()) | common | {"--config"}
    ]
    gone = [
        heading
        for heading in described
        if heading.startswith("`tunesmith ") and heading.strip("`") not in known
    ]
    assert stale == []
    assert gone == []


# --- the site configuration ---------------------------------------------------------------


def settings(section: type[BaseModel], path: str) -> Iterator[tuple[str, str]]:
    """Give every setting as the heading of its table and its key."""
    for key, field in section.model_fields.items():
        inner: type[BaseModel] | None = next(model_types(field.annotation), None)
        if inner is None:
            yield path, key
        elif not get_args(field.annotation):
            yield from settings(inner, key)
        else:
            parent = f"{path}." if path else ""
            placeholder = "" if parent else ".NAME"
            yield from settings(inner, f"{parent}{key}{placeholder}")


def model_types(annotation: Any) -> Iterator[type[BaseModel]]:
    """Find the models within a type such as ``dict[str, AlgorithmSection]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from model_types(inner)


def test_every_setting_is_documented_in_the_section_of_its_table() -> None:
    described = sections(page("configuration.md"))
    wanted = list(settings(SiteFile, ""))
    missing = [
        f"[{table}] {key}"
        for table, key in wanted
        if f"`{key}`"
        not in next((text for head, text in described.items() if f"[{table}]" in head), "")
    ]
    assert len(wanted) > 10
    assert missing == []


def repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def test_no_setting_is_documented_twice() -> None:
    text = page("configuration.md")
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"(?ms)^```.*?^```", "", text), flags=re.MULTILINE)
    assert repeated(headings) == []
    keys = [
        f"{heading} {key}"
        for heading, part in sections(text).items()
        for key in re.findall(r"^\| `(\w+)` \|", part, flags=re.MULTILINE)
    ]
    assert len(keys) > 10
    assert repeated(keys) == []


@pytest.mark.parametrize("file", PAGES, ids=shown)
def test_every_example_of_a_configuration_is_one(file: Path, tmp_path: Path) -> None:
    for index, block in enumerate(code_blocks(file.read_text(encoding="utf-8"), "toml")):
        config = tmp_path / f"{index}.toml"
        config.write_text(block, encoding="utf-8")
        read = load_settings(config)
        assert read.site.algorithms.keys() == tomllib.loads(block).get("algorithms", {}).keys()


# --- requests and prose -------------------------------------------------------------------


def test_every_example_of_a_create_request_is_accepted(tmp_path: Path) -> None:
    text = "\n".join(file.read_text(encoding="utf-8") for file in PAGES)
    config = tmp_path / "tunesmith.toml"
    config.write_text(code_blocks((ROOT / "README.md").read_text(), "toml")[0], encoding="utf-8")
    site = load_settings(config).site
    examples = [
        block for block in code_blocks(text, "json") if '"HyperParameterTuningJobConfig"' in block
    ]
    assert examples
    for example in examples:
        request = tunesmith.from_aws(
            json.loads(example), tuning_service_pb2.CreateHyperParameterTuningJobRequest
        )
        validate_create(with_choices(request, site=site), site=site)


def test_every_variable_of_a_trials_environment_is_documented(tmp_path: Path) -> None:
    assignment = runner_service_pb2.TrialAssignment(
        training_job_name="t",
        training_job_arn=Account().training_job_arn("t"),
        hyper_parameters={"NAME": "1"},
    )
    assignment.input_data_config.add(channel_name="NAME")
    environment = trial_environment(
        assignment, contract.TrialTree(root=tmp_path), gpus=(), cpu_count=1, inherited={}
    )
    text = page("runner.md")
    missing = [name for name in environment.variables if f"`{name}`" not in text]
    assert missing == []


def test_every_target_of_make_is_known_to_contributors() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "test" in targets
    assert [target for target in targets if f"`make {target}`" not in text] == []


def test_every_benchmark_is_listed() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    files = [path.name for path in (ROOT / "benchmarks").glob("*.py")]
    assert [name for name in files if f"`{name}`" not in text] == []


@pytest.mark.parametrize("file", list(our_files(".md")), ids=shown)
def test_every_link_within_the_repository_leads_somewhere(file: Path) -> None:
    text = re.sub(r"^```.*?^```", "", file.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text)
    assert [link for link in links if not (file.parent / link).exists()] == []
