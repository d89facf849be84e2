"""Answers that refuse, as AWS clients read them: whoever refuses, and whether there was a call."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

from starlette.responses import Response

from tunesmith_server.http import aws_json

#: What a server that has no room for more says; AWS clients try again by themselves.
BUSY = "ServiceUnavailable"


def refusal(
    status: int,
    name: str,
    message: str,
    *,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make an answer that refuses.

    Args:
        status: HTTP's.
        name: SageMaker's name of what is wrong.
        message: The same in words.
        request_id: What the answer is called; None: anything that is new.
        headers: Further ones.
    """
    body = json.dumps({"__type": name, "message": message}, separators=(",", ":"))
    given = {
        **(headers or {}),
        "x-amzn-RequestId": request_id or str(uuid.uuid4()),
        # Clients in Go look for the name here first, others in the body alone.
        "x-amzn-ErrorType": name,
    }
    return Response(body, status, given, media_type=aws_json.CONTENT_TYPE)
