"""``file://`` URIs and the directories that they name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tunesmith.runner.errors import FailureKind, TrialFailure


def path_of_uri(uri: str, *, member: str) -> Path:
    """Find the local path that a URI names.

    Args:
        uri: What the request has.
        member: The request's member that has it, for the message.

    Raises:
        TrialFailure: It is no ``file://`` URI of an absolute local path.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    path = unquote(parts.path)
    local = parts.scheme == "file" and parts.netloc in {"", "localhost"}
    if not local or not path.startswith("/") or "\0" in path or parts.query or parts.fragment:
        raise TrialFailure(
            FailureKind.CLIENT,
            f"{member} is {uri!r}: this runner takes file:///absolute/path only, with '?', '#' "
            "and '%' written as %3F, %23 and %25",
        )
    return Path(path)
