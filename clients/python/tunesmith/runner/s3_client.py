"""A connection to S3, or to what speaks its protocol, made when it is first needed.

boto3 is an extra of the package (``tunesmith[s3]``): a runner that has directories for its buckets
needs none. Its credentials are found as boto3 finds them everywhere, in the runner's own process;
nothing of them is kept here, passed on to a trial, or logged.

What goes wrong comes out as an ``OSError``, as it does of a directory, so that who stores to either
tells a user's mistake from the host's trouble in one way.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from tunesmith.runner.errors import FailureKind, TrialFailure

ALL_OTHER_BUCKETS: Final = "*"
"""Stands for every bucket that has no entry of its own; no bucket can be called so."""

_CONNECT_S: Final = 10
_READ_S: Final = 30
_ATTEMPTS: Final = 4
#: Connections that are kept for later; more are made where trials need them.
_CONNECTIONS: Final = 128

#: Refusals that say nothing of the request: another attempt may fare better.
_PASSING: Final = frozenset({408, 429})
#: What boto3's transfers raise on their own.
_TRANSFER_ERRORS: Final = (
    "RetriesExceededError",
    "S3DownloadFailedError",
    "S3UploadFailedError",
    "S3ValidationError",
)
#: What boto3 says, by the names of its classes, when the site has to mend something.
_SITE_MISTAKES: Final = frozenset(
    {
        "ConfigParseError",
        "CredentialRetrievalError",
        "InvalidRegionError",
        "NoCredentialsError",
        "ParamValidationError",
        "PartialCredentialsError",
        "SSOError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Endpoint:
    """Say how buckets are reached. What is ``None`` is left to boto3's own settings.

    Attributes:
        endpoint_url: Where S3 is; ``None``: at AWS.
        region: The buckets' region.
        profile: Whose credentials, of those in AWS's own files.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None


class S3Failure(OSError):
    """Report what S3, or the way there, did not do.

    The error number is ``EACCES`` where the request or the site has to be changed, whatever S3
    called it, and ``EIO`` where another attempt may fare better.

    Attributes:
        status: Of HTTP; ``None`` if there was no answer.
    """

    def __init__(self, said: str, *, is_mistake: bool, status: int | None = None) -> None:
        self.status = status
        super().__init__(errno.EACCES if is_mistake else errno.EIO, said)

    def __str__(self) -> str:
        """Say what was said, without the number, which means something to programs only."""
        return str(self.strerror)


class S3Connection:
    """Hold the client for one endpoint, which threads share."""

    def __init__(self, endpoint: S3Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._client: Any = None

    def client(self) -> Any:  # boto3 makes its clients at run time, and has no types
        """Give the client.

        Raises:
            TrialFailure: There is no boto3, or it refuses the endpoint.
        """
        with self._lock:
            if self._client is None:
                self._client = self._connected()
            return self._client

    def close(self) -> None:
        """Let go of what is kept for later."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _connected(self) -> Any:
        if not is_boto3_there():
            raise TrialFailure(
                FailureKind.CLIENT,
                "buckets are reached over the network with boto3, which this runner has not: "
                "pip install 'tunesmith[s3]' there, or give the bucket a directory",
            )
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        endpoint = self._endpoint
        config = Config(
            connect_timeout=_CONNECT_S,
            read_timeout=_READ_S,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=_CONNECTIONS,
        )
        try:
            # A session of its own: the default one is shared, and not safe among threads.
            session = boto3.Session(profile_name=endpoint.profile, region_name=endpoint.region)
            return session.client("s3", endpoint_url=endpoint.endpoint_url, config=config)
        except (BotoCoreError, ValueError) as error:
            raise TrialFailure(FailureKind.CLIENT, f"S3 cannot be reached: {error}") from error


def is_boto3_there() -> bool:
    """Tell whether buckets can be reached over the network at all; loads nothing."""
    return find_spec("boto3") is not None


@contextmanager
def s3_errors(check: Callable[[int], None]) -> Iterator[None]:
    """Turn what boto3 raises into an ``S3Failure``.

    Args:
        check: Asked first whether the work is wanted: what it raises within a transfer may come
            out as an error of boto3's.

    Raises:
        S3Failure: S3 refused, or the way there is broken.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer import exceptions as transfer_errors

    # Not all of them are in every version.
    transfers = (getattr(transfer_errors, name, None) for name in _TRANSFER_ERRORS)
    broken = (Boto3Error, BotoCoreError, *filter(None, transfers))
    try:
        yield
    except ClientError as error:
        check(0)
        raise _refusal(error.response) from error
    except broken as error:
        check(0)
        is_mistake = type(error).__name__ in _SITE_MISTAKES
        raise S3Failure(f"S3 cannot be reached: {error}", is_mistake=is_mistake) from error


def _refusal(response: Any) -> S3Failure:
    """Say what S3 answered, in its own words, which hold no secret."""
    said = response.get("Error", {})
    code = str(said.get("Code", "error"))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # A redirect that boto3 did not follow means a wrong region or endpoint.
    is_mistake = 300 <= status < 500 and status not in _PASSING  # noqa: PLR2004 - HTTP's classes
    message = str(said.get("Message", "")).strip()
    return S3Failure(
        f"S3 says {code}" + (f": {message}" if message else ""),
        is_mistake=is_mistake,
        status=status,
    )
