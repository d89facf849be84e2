"""Say all that is wrong with a request at once: what a message cannot carry, and all the rest.

A server sees only what a message carries. What does not get so far is found here, where the
server's own rules are then run on what is left of the request.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from tunesmith.aws_json import Reading, read_aws
from tunesmith.errors import Violation, refusal
from tunesmith.v1.tuning_service_pb2 import CreateHyperParameterTuningJobRequest
from tunesmith_server.cli.outcome import Refusal
from tunesmith_server.cli.wording import size
from tunesmith_server.domain.autotune import with_choices
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.validation import validate_create
from tunesmith_server.operations.limits import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Rules that judge a request by what the site offers.
_OF_THE_SITE: Final = frozenset(
    {"instance_types_are_known", "algorithm_is_registered", "limits_are_within_the_sites"}
)

CreateReading = Reading[CreateHyperParameterTuningJobRequest]


def read_create(data: dict[str, Any]) -> CreateReading:
    """Read a create request as far as it is one.

    Raises:
        Refusal: It is longer than a server takes.
    """
    reading = read_aws(data, CreateHyperParameterTuningJobRequest)
    length = reading.message.ByteSize()
    if length > MAX_REQUEST_BYTES:
        path, member_bytes = _largest_member(data)
        raise Refusal(
            f"the request is {size(length)} long; a server takes at most "
            f"{size(MAX_REQUEST_BYTES)}. Its largest member is {path}, with {size(member_bytes)}: "
            "shorten that"
        )
    return reading


def refuse_misfits(reading: CreateReading, *, site: Site | None) -> None:
    """Refuse a request that no message can carry whole, with everything else that is wrong.

    Args:
        reading: The request.
        site: Where it would run; None: not known, and what depends on it is not looked at.

    Raises:
        tunesmith.InvalidRequest: With all that is wrong.
    """
    misfits = reading.violations
    if misfits:
        paths = tuple(violation.path for violation in misfits)
        others = _server_violations(reading.message, site)
        more = [other for other in others if not _is_within(other.path, paths)]
        raise refusal((*misfits, *more), left_out=reading.left_out)


def _server_violations(
    message: CreateHyperParameterTuningJobRequest, site: Site | None
) -> Iterator[Violation]:
    known = site or Site()
    try:
        validate_create(with_choices(message, site=known), site=known)
    except InvalidRequest as error:
        for violation in error.violations:
            if site is not None or violation.rule not in _OF_THE_SITE:
                yield Violation(path=violation.path, message=violation.message)


def _is_within(path: str, parents: tuple[str, ...]) -> bool:
    return any(
        path == parent or path.startswith((f"{parent}.", f"{parent}[")) or not parent
        for parent in parents
    )


def _largest_member(data: dict[str, Any]) -> tuple[str, int]:
    """Find the innermost member that holds most of a request, and its size as JSON."""
    path, length = "", len(json.dumps(data))
    value: object = data
    while True:
        children: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            children = [(f"{path}.{name}", member) for name, member in value.items()]
        elif isinstance(value, list):
            children = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
        sized = [(len(json.dumps(child)), where, child) for where, child in children]
        largest = max(sized, key=lambda each: each[0], default=None)
        if largest is None or (path and largest[0] < length / 2):
            return path.removeprefix("."), length
        length, path, value = largest
