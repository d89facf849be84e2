"""Bodies of the AWS JSON 1.1 protocol: bytes to messages, and answers to bytes.

What a message looks like as JSON is ``tunesmith.aws_json``'s, by its descriptors; here are the
bytes around it, and SageMaker's words for what does not fit.

Source: Smithy's AWS JSON 1.1 protocol.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from tunesmith import aws_json_values as values
from tunesmith.aws_json import read_aws, to_aws
from tunesmith.aws_json_text import load_json
from tunesmith_server.domain.errors import InvalidRequest, MalformedRequest, Violation
from tunesmith_server.domain.validation.members import Key, MemberPath

CONTENT_TYPE: Final = "application/x-amz-json-1.1"

M = TypeVar("M", bound=Message)
Rules = Callable[[Message], Iterable[Violation]]


def read_request(body: bytes, message_type: type[M], *, rules: Rules) -> M:
    """Read a request's body; an empty one has no members.

    Args:
        body: The whole body.
        message_type: What it should be.
        rules: What else is wrong with a message, to be told together with what does not fit one.

    Raises:
        MalformedRequest: It is no JSON, or a value in it is of the wrong type.
        InvalidRequest: It has unknown members, or values that no message can carry.
    """
    reading = read_aws(_parsed(body), message_type)
    shapes = [each for each in reading.findings if each.kind is values.Misfit.SHAPE]
    if shapes:
        raise MalformedRequest("; ".join(each.sentence for each in shapes))
    if reading.findings:
        misfits = [_violation(each) for each in reading.findings]
        known = {each.path for each in misfits}
        more = [each for each in rules(reading.message) if each.path not in known]
        raise InvalidRequest((*misfits, *more))
    return reading.message


def answer(message: Message) -> bytes:
    """Write an answer's body; numbers have 32 bits, as SageMaker's have, and all are finite."""
    return _written(to_aws(message, single_precision=True))


def _written(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def _parsed(body: bytes) -> Any:
    if not body:
        return {}
    try:
        return load_json(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedRequest(
            f"The body is not UTF-8: {error.reason} at byte {error.start}."
        ) from None
    except ValueError as error:
        raise MalformedRequest(f"The body is not the JSON of a request: {error}.") from None


def _violation(finding: values.Finding) -> Violation:
    """Word a finding as SageMaker does."""
    if finding.kind is not values.Misfit.CONSTRAINT:
        return Violation(path=finding.path, message=finding.sentence, rule="members")
    steps = (Key(step.text) if isinstance(step, values.Key) else step for step in finding.steps)
    where = MemberPath(tuple(steps))
    return Violation(
        path=str(where),
        message=f"Value '{finding.shown}' at '{where.sagemaker_path}' failed to satisfy "
        f"constraint: Member must {finding.sentence}",
        rule="constraint",
        is_constraint=True,
    )
