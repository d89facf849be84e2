"""What tags may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tunesmith.v1 import tag_pb2
from tunesmith_server.domain.validation.draft import Draft
from tunesmith_server.domain.validation.search_space import Finding
from tunesmith_server.domain.validation.wording import excerpt

_RESERVED_PREFIX: Final = "aws:"


def tag_keys_are_different(draft: Draft) -> Iterator[Finding]:
    """A resource has one value for each key."""
    yield from repeated_keys(draft.request.tags)


def tag_keys_are_free(draft: Draft) -> Iterator[Finding]:
    """Keys with AWS's own prefix belong to AWS, whose tags would be taken for its own."""
    yield from reserved_keys(draft.request.tags)


def repeated_keys(tags: Iterable[tag_pb2.Tag]) -> Iterator[Finding]:
    """Find the tags whose keys an earlier one has."""
    seen: set[str] = set()
    for index, tag in enumerate(tags):
        if tag.key and tag.key in seen:
            yield Finding(
                path=f"Tags[{index}].Key",
                message=f"The tag key {excerpt(tag.key)!r} is given twice; give each key once",
            )
        seen.add(tag.key)


def reserved_keys(tags: Iterable[tag_pb2.Tag]) -> Iterator[Finding]:
    """Find the tags whose keys AWS keeps for itself."""
    for index, tag in enumerate(tags):
        if tag.key.lower().startswith(_RESERVED_PREFIX):
            yield Finding(
                path=f"Tags[{index}].Key",
                message=f"The tag key {excerpt(tag.key)!r} begins with {_RESERVED_PREFIX}, in "
                "whatever case, which is reserved for AWS's own tags; choose another key",
            )
