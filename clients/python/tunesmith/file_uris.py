"""``file://`` URIs of requests, as servers judge them and runners follow them."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit


def path_of_file_uri(uri: str) -> PurePosixPath | None:
    """Give the absolute path that a ``file://`` URI names; None if it names none.

    Nothing is looked up, and ``..`` stays as it is.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    path = unquote(parts.path)
    is_local = parts.scheme == "file" and parts.netloc in {"", "localhost"}
    if not is_local or not path.startswith("/") or "\0" in path or parts.query or parts.fragment:
        return None
    return PurePosixPath(path)
