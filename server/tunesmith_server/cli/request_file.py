"""Read a request file, JSON or YAML, as the AWS CLI's ``--cli-input-json`` and ``-yaml`` do.

What JSON and YAML would let pass in silence is refused: a key that comes twice. YAML is read by
its version 1.2, in which ``Off`` and ``2026-11-24`` are strings.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from tunesmith.aws_json_text import JsonTextError, load_json, whole_number, without_repetition
from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.cli.wording import size
from tunesmith_server.operations.limits import MAX_REQUEST_BYTES

# Written out, a request takes more room than on its way to the server.
_MAX_BYTES: Final = 4 * MAX_REQUEST_BYTES


def read_request(path: Path) -> dict[str, Any]:
    """Read the request in a file; ``-`` is standard input.

    Raises:
        Refusal: The file can't be read, or holds no JSON or YAML object.
    """
    try:
        text = _text(path)
        data = _parse_yaml(text) if path.suffix in (".yaml", ".yml") else _parse_json(text)
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    except JsonTextError as error:
        raise Refusal(f"{path}: {error}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise Refusal(f"{path} is neither JSON nor YAML: {error}") from None
    except RecursionError:
        raise Refusal(f"{path} is nested too deeply for a request") from None
    if not isinstance(data, dict):
        raise Refusal(
            f"{path} holds no object: a CreateHyperParameterTuningJob request is one, "
            'such as {"HyperParameterTuningJobName": …}'
        )
    return data


def _text(path: Path) -> str:
    if str(path) == "-":
        content = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise Refusal(
            f"{path} is larger than any request: at most {size(_MAX_BYTES)} are read, of which a "
            f"server takes {size(MAX_REQUEST_BYTES)}"
        )
    return content.decode("utf-8")


def _parse_json(text: str) -> object:
    # A file of another suffix may be either; what begins like an object is JSON.
    if text.lstrip()[:1] != "{":
        return _parse_yaml(text)
    return load_json(text)


def _parse_yaml(text: str) -> object:
    return yaml.load(text, Loader=_Yaml12Loader)  # noqa: S506 - built on the safe loader


class _Yaml12Loader(yaml.SafeLoader):
    """Read YAML by the core schema of version 1.2, and refuse repeated keys."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - filled below; the base class types it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        pairs = [(self.construct_object(key, deep=True), None) for key, _ in node.value]
        without_repetition([(str(key), value) for key, value in pairs])
        return super().construct_mapping(node, deep=deep)

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        """Read digits as decimal ones: those after a zero were octal before version 1.2."""
        return whole_number(self.construct_scalar(node))


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _Yaml12Loader.construct_whole_number)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
):
    _Yaml12Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )
