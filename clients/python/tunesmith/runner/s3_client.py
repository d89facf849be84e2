"""A connection to S3, or to what speaks its protocol, made when it is first needed.

boto3 is an extra of the package (``tunesmith[s3]``): a runner that has directories for its buckets
needs none. Its credentials are found as boto3 finds them everywhere, in the runner's own process;
nothing of them is kept here, passed on to a trial, or logged.

What goes wrong comes out as an ``OSError``, as it does of a directory, so that who stores to either
tells a user's mistake from the host's trouble in one way.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from tunesmith.runner.errors import FailureKind, TrialFailure
from tunesmith.runner.s3_pool import REQUESTS, TransferPool

ALL_OTHER_BUCKETS: Final = "*"
"""Stands for every bucket that has no entry of its own; no bucket can be called so."""

_CONNECT_S: Final = 10
_READ_S: Final = 30

#: After a trial was stopped.
_STOPPED_PATIENCE_S: Final = 60.0
#: Between two times that a trial's output says that S3 is away.
_QUIET_S: Final = 30.0

#: Refusals that say nothing of the request: another attempt may fare better.
_PASSING: Final = frozenset({408, 429})
_NOT_IMPLEMENTED: Final = 501
#: The same by what S3 calls them, whatever their status.
_PASSING_CODES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
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
        "SSLError",
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
        is_mistake: Whether the former.
        status: Of HTTP; ``None`` if there was no answer.
    """

    def __init__(self, said: str, *, is_mistake: bool, status: int | None = None) -> None:
        self.is_mistake = is_mistake
        self.status = status
        super().__init__(errno.EACCES if is_mistake else errno.EIO, said)

    def __str__(self) -> str:
        """Say what was said, without the number, which means something to programs only."""
        return str(self.strerror)

    def after(self, tries: int, lasted_s: float) -> S3Failure:
        """Give the same, and say how often it was tried."""
        if tries <= 1:
            return self
        said = f"{self}; it was tried {tries} times in {lasted_s:.0f} s"
        return S3Failure(said, is_mistake=self.is_mistake, status=self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Patience:
    """Say how long a request is made again that fails in a way that may pass.

    Attributes:
        reading_s: While data are fetched, or checkpoints stored, which are stored again anyway.
        storing_s: While a model is stored, on which the training's whole time hangs.
    """

    reading_s: float = 120.0
    storing_s: float = 600.0


def _nobody(_: str) -> None:
    """Tell nobody."""


def _wanted(_: int) -> None:
    """Never object."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class S3Trial:
    """Say on whose behalf S3 is asked: requests of trials take turns.

    Attributes:
        tell: Takes a line for the trial's output, in whatever thread.
        check: Asked whether the trial is still to begin, where nothing else is asked.
        is_stopped: Tells whether somebody stopped it: patience is shorter then.
    """

    tell: Callable[[str], None] = _nobody
    check: Callable[[int], None] = _wanted
    is_stopped: Callable[[], bool] = _never


class S3Connection:
    """Hold the client for one endpoint, which threads share, and the pool of its requests.

    Args:
        endpoint: Where S3 is.
        pool: Where requests are made; ``None``: in one of its own.
        patience: With an S3 that is away.
    """

    def __init__(
        self,
        endpoint: S3Endpoint,
        *,
        pool: TransferPool | None = None,
        patience: S3Patience | None = None,
    ) -> None:
        self.pool = pool or TransferPool()
        self.patience = patience or S3Patience()
        self.trial = S3Trial()
        self._owns_pool = pool is None
        self._endpoint = endpoint
        self._shared = _SharedClient(endpoint)
        self._telling = threading.Lock()
        self._is_out = False
        self._quiet_until = -math.inf

    def of_trial(self, trial: S3Trial) -> S3Connection:
        """Give the same connection on behalf of a trial; only this one is to be closed."""
        own = S3Connection(self._endpoint, pool=self.pool, patience=self.patience)
        own.trial, own._shared = trial, self._shared
        return own

    def client(self) -> Any:  # boto3 makes its clients at run time, and has no types
        """Give the client.

        Raises:
            TrialFailure: There is no boto3, or it refuses the endpoint.
        """
        return self._shared.client()

    def close(self) -> None:
        """Let go of what is kept for later."""
        if self._owns_pool:
            self.pool.close()
        self._shared.close()

    def patience_of_trial(self, patience_s: float) -> float:
        """Give how patient to be, which is less once the trial was stopped."""
        return min(patience_s, _STOPPED_PATIENCE_S) if self.trial.is_stopped() else patience_s

    def tell_outage(self, failure: S3Failure, patience_s: float) -> None:
        """Say in the trial's output that S3 is away: once, and not each time that it comes and goes."""
        with self._telling:
            now = time.monotonic()
            is_new = not self._is_out and now >= self._quiet_until
            if is_new:
                self._is_out, self._quiet_until = True, now + _QUIET_S
        if is_new:
            self.trial.tell(f"[runner] {failure}; trying again for {patience_s:.0f} s")

    def tell_recovery(self) -> None:
        """Say that it is there again, if it was away."""
        with self._telling:
            is_new, self._is_out = self._is_out, False
        if is_new:
            self.trial.tell("[runner] S3 answers again")


class _SharedClient:
    """Make boto3's client when it is first needed."""

    def __init__(self, endpoint: S3Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._client: Any = None

    def client(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connected()
            return self._client

    def close(self) -> None:
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
            # What fails is tried again in one place; see s3_requests.
            retries={"mode": "standard", "total_max_attempts": 1},
            max_pool_connections=REQUESTS,
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
def s3_errors() -> Iterator[None]:
    """Turn what boto3 raises into an ``S3Failure``.

    Raises:
        S3Failure: S3 refused, or the way there is broken.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        raise _refusal(error.response) from error
    except (BotoCoreError, HTTPError) as error:
        is_mistake = type(error).__name__ in _SITE_MISTAKES
        raise S3Failure(f"S3 cannot be reached: {error}", is_mistake=is_mistake) from error


def _refusal(response: Any) -> S3Failure:
    """Say what S3 answered, in its own words, which hold no secret."""
    said = response.get("Error", {})
    code = str(said.get("Code", "error"))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # A redirect that boto3 did not follow means a wrong region or endpoint.
    is_mistake = 300 <= status < 500 and status not in _PASSING  # noqa: PLR2004 - HTTP's classes
    is_mistake = (is_mistake or status == _NOT_IMPLEMENTED) and code not in _PASSING_CODES
    message = str(said.get("Message", "")).strip()
    return S3Failure(
        f"S3 says {code}" + (f": {message}" if message else ""),
        is_mistake=is_mistake,
        status=status,
    )
