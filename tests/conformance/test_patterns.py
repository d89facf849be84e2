"""Patterns are RE2's, and those we had to rewrite accept what SageMaker's accept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest
import re2

from tests.conformance.comparison import unanchored
from tests.conformance.contract_model import contract_operations
from tests.conformance.members import Structure, Value
from tests.conformance.sagemaker_model import sagemaker_operations

_ARN = "arn:aws:sagemaker:eu-west-1:123456789012:"
#: For each rewritten pattern, texts around whose every one-character change both must agree.
SEEDS = {
    "ArnOrName": (
        "a",
        "a-b",
        "a" * 62 + "b",
        "a" * 63 + "b",
        "a-" * 31 + "a",
        f"{_ARN}algorithm/my-algorithm",
        f"{_ARN}algorithm/" + "x" * 63,
        f"{_ARN}algorithm/",
    ),
    "TrainingRepositoryCredentialsProviderArn": (
        "arn:aws:lambda:eu-west-1:123456789012:function:login",
        "arn:aws-cn:lambda:cn-north-1:123456789012:function:",
        "arn::lambda:eu-west-1:123456789012:function:login",
    ),
    "ModelPackageGroupArn": (
        f"{_ARN}model-package-group/models",
        f"{_ARN}model-package-group/",
        f"{_ARN}model-package-group/" + "x" * 1970,
        f"{_ARN}model-package-group/" + "x" * 2048,
    ),
    "ModelPackageArn": (
        f"{_ARN}model-package/models/3",
        f"{_ARN}model-package/",
        f"{_ARN}model-package/" + "x" * 1970,
        f"{_ARN}model-package/" + "x" * 2048,
    ),
    "S3Uri": (
        "s3://bucket/prefix/",
        "s3://bucket",
        "https://bucket.s3.amazonaws.com/key",
        "s3:///key",
        "http://bucket/key",
        "s3://",
    ),
}
_INSERTIONS = ("-", "/", ":", ".", "_", "A", "9", " ", "\n", "é", "٣")


def values(side: Structure, seen: set[str]) -> Iterator[tuple[str, Value]]:
    """Yield every value of a tree under its path, each structure once."""
    if side.name in seen:
        return
    seen.add(side.name)
    for member in side.members:
        pending = [(f"{side.name}.{member.name}", member.value)]
        while pending:
            where, value = pending.pop()
            yield where, value
            parts = (("[]", value.element), ("{key}", value.key))
            pending += [(where + part, below) for part, below in parts if below is not None]
            if value.structure is not None:
                yield from values(value.structure, seen)


@cache
def by_path(side: str) -> dict[str, Value]:
    operations = sagemaker_operations() if side == "sagemaker" else contract_operations()
    seen: set[str] = set()
    return {
        where: value
        for pair in operations.values()
        for structure in pair
        for where, value in values(structure, seen)
    }


def our_patterns() -> list[str]:
    return sorted({value.pattern for value in by_path("ours").values() if value.pattern})


@pytest.mark.parametrize("pattern", our_patterns())
def test_a_pattern_is_anchored_and_valid_in_re2(pattern: str) -> None:
    assert not (unanchored(pattern) or "").startswith("(not anchored)")
    re2.compile(pattern)


def rewritten() -> dict[str, tuple[Value, Value]]:
    ours = by_path("ours")
    return {
        theirs.shape: (theirs, ours[where])
        for where, theirs in by_path("sagemaker").items()
        if where in ours
        and where != "ModelArtifacts.S3ModelArtifacts"
        and theirs.pattern != unanchored(ours[where].pattern)
        and theirs.kind == "string"
    }


def test_every_rewritten_pattern_has_samples() -> None:
    assert set(rewritten()) == set(SEEDS)


def neighbours(seed: str) -> Iterator[str]:
    """Yield a text and those one character away, at up to 80 places of a long one."""
    yield seed
    places = range(len(seed) + 1)
    for i in [*places[:60], *places[60:][-20:]]:
        yield seed[:i] + seed[i + 1 :]
        for character in _INSERTIONS:
            yield seed[:i] + character + seed[i:]


def sagemaker_accepts(value: Value, text: str) -> bool:
    # Their engine's classes are ASCII, as are RE2's; \p{Alnum} has no spelling in Python's.
    pattern = (value.pattern or "").replace(r"\p{Alnum}", "a-zA-Z0-9")
    return fits(value, text) and re.fullmatch(pattern, text, re.ASCII) is not None


def we_accept(value: Value, text: str) -> bool:
    return fits(value, text) and re2.search(value.pattern, text) is not None


def fits(value: Value, text: str) -> bool:
    return (value.minimum or 0) <= len(text) <= (value.maximum or len(text))


@pytest.mark.parametrize("shape", sorted(SEEDS))
def test_a_rewritten_pattern_accepts_the_same_texts(shape: str) -> None:
    theirs, ours = rewritten()[shape]
    texts = [text for seed in SEEDS[shape] for text in neighbours(seed)]
    verdicts = {text: sagemaker_accepts(theirs, text) for text in texts}
    assert {True, False} == set(verdicts.values())
    wrong = [text for text, verdict in verdicts.items() if we_accept(ours, text) != verdict]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("file:///data/out", True),
        ("file://localhost/data/out", True),
        ("file:///", True),
        ("file://elsewhere/data", False),
        ("file:relative", False),
        ("/data/out", False),
    ],
)
def test_file_uris_are_accepted_beside_sagemakers(text: str, accepted: bool) -> None:  # noqa: FBT001 - a parameter of the table
    theirs, ours = rewritten()["S3Uri"]
    assert not sagemaker_accepts(theirs, text)
    assert we_accept(ours, text) is accepted
