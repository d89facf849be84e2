"""Reading a request file as the AWS CLI does, and refusing what would be lost in silence."""

import json
from pathlib import Path

import pytest

from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.cli.request_file import read_request


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_json_and_yaml_give_the_same_request(tmp_path: Path) -> None:
    request: dict[str, object] = {
        "Name": "a",
        "Limits": {"Max": 3, "Target": 0.5},
        "Tags": [],
        "None": None,
    }
    as_json = written(tmp_path, "r.json", json.dumps(request))
    as_yaml = written(
        tmp_path,
        "r.yaml",
        "Name: a\nLimits: {Max: 3, Target: 0.5}\nTags: []\nNone: ~\n",
    )
    assert read_request(as_json) == read_request(as_yaml) == request


def test_yaml_is_read_by_its_version_1_2(tmp_path: Path) -> None:
    path = written(
        tmp_path, "r.yml", "Off: Off\nday: 2026-11-24\nyes: no\ntrue: true\nx: 1e-4\nt: 12:30\n"
    )
    assert read_request(path) == {
        "Off": "Off",
        "day": "2026-11-24",
        "yes": "no",
        True: True,
        "x": 1e-4,
        "t": "12:30",
    }


def test_digits_after_a_zero_are_decimal_in_yaml(tmp_path: Path) -> None:
    path = written(tmp_path, "r.yaml", "a: 010\nb: 08\nc: -7\n")
    assert read_request(path) == {"a": 10, "b": 8, "c": -7}


@pytest.mark.parametrize("name", ["r.json", "r.yaml"])
def test_a_number_that_is_too_long_to_read_is_refused_in_our_words(
    tmp_path: Path, name: str
) -> None:
    path = written(tmp_path, name, '{"A": -' + "12345" * 1000 + "}")
    with pytest.raises(Refusal, match=r"number -1234512345123451234… has 5000 digits; at most 640"):
        read_request(path)


def test_a_file_of_another_suffix_may_be_either(tmp_path: Path) -> None:
    assert read_request(written(tmp_path, "a.txt", '{"A": 1}')) == {"A": 1}
    assert read_request(written(tmp_path, "b.txt", "A: 1")) == {"A": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [("r.json", '{"A": {"B": 1, "B": 2}}'), ("r.yaml", "A:\n  B: 1\n  B: 2\n")],
)
def test_a_key_that_comes_twice_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(Refusal, match=rf"/{name}: the key 'B' comes twice"):
        read_request(written(tmp_path, name, text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "holds no object"),
        ("", "holds no object"),
        ('{"A": ', "neither JSON nor YAML"),
        ("a: [b", "neither JSON nor YAML"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_request_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        read_request(written(tmp_path, "r.json", text))


def test_yaml_cannot_make_objects_of_python(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="could not determine a constructor"):
        read_request(written(tmp_path, "r.yaml", "a: !!python/object/apply:os.getcwd []\n"))


def test_bytes_that_are_no_utf_8_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b'{"A": "\xff"}')
    with pytest.raises(Refusal, match="not UTF-8: invalid start byte at byte 7"):
        read_request(path)


def test_a_missing_file_and_a_huge_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="No such file"):
        read_request(tmp_path / "r.json")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    with pytest.raises(Refusal, match="larger than any request"):
        read_request(huge)
