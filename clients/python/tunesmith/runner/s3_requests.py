"""Requests to S3 that are made again while S3 is away, and left alone once nobody wants them.

The one layer of retries: boto3 makes each request once. What S3 refuses is raised at once; what may pass,
a connection that fails, an answer that does not come, a busy S3, is tried again after pauses that
double, for as long as the caller is patient. Meanwhile the caller is asked every tenth of a second
whether to go on, also while an answer is waited for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from tunesmith.runner.s3_client import S3Connection, S3Failure, s3_errors

_T = TypeVar("_T")

Check = Callable[[int], None]
Request = Callable[[Any], _T]
"""Makes one request with boto3's client, which has no types, in a thread of the pool; may be made again."""

_POLL_S: Final = 0.1
_PAUSE_MIN_S: Final = 0.25
_PAUSE_MAX_S: Final = 8.0


def ask(connection: S3Connection, request: Request[_T], *, check: Check, patience_s: float) -> _T:
    """Make a request, again if it has to be.

    Args:
        connection: How S3 is reached.
        request: The request.
        check: Asked with 0 whether to go on; raises to end the work.
        patience_s: How long it is tried again that fails in a way that may pass.

    Raises:
        S3Failure: S3 refused, or was away for too long.
    """
    (answer,) = ask_all(connection, [request], check=check, patience_s=patience_s)
    return answer


def ask_all(
    connection: S3Connection,
    requests: Iterable[Request[_T]],
    *,
    check: Check,
    patience_s: float,
    at_a_time: int = 1,
) -> Iterator[_T]:
    """Make requests, some at a time, and give the answers as they come; see ``ask``.

    What is on its way when the work ends goes on in its thread: a request must see for itself that its
    answer is no longer wanted.

    Raises:
        S3Failure: S3 refused one, or was away for too long.
    """
    client = connection.client()
    left = iter(requests)
    tries: list[_Try[_T]] = []
    try:
        while True:
            check(0)
            tries.extend(_Try(each) for each in islice(left, at_a_time - len(tries)))
            if not tries:
                return
            for each in tries:
                each.send(connection, client)
            _wait_for_one(tries)
            for each in [each for each in tries if each.is_answered]:
                try:
                    answer = each.answer()
                except S3Failure as failure:
                    # What ended since is told as that.
                    check(0)
                    each.failed(failure, connection, connection.patience_of_trial(patience_s))
                    continue
                tries.remove(each)
                connection.tell_recovery()
                yield answer
    finally:
        for each in tries:
            each.cancel()


def _wait_for_one(tries: list[_Try[_T]]) -> None:
    sent = [each.sent for each in tries if each.sent is not None]
    if sent:
        wait(sent, timeout=_POLL_S, return_when=FIRST_COMPLETED)
    else:
        # Nothing tells that a pause is over, or that the work is no longer wanted, but asking.
        time.sleep(_POLL_S)


class _Try(Generic[_T]):
    """A request, as often as it has to be made."""

    def __init__(self, request: Request[_T]) -> None:
        self.sent: Future[_T] | None = None
        self._request = request
        self._failures = 0
        self._failing_since = 0.0
        self._again_at = 0.0

    def send(self, connection: S3Connection, client: Any) -> None:
        """Make the request, unless it is on its way, or pauses."""
        if self.sent is None and time.monotonic() >= self._again_at:
            self.sent = connection.pool.submit(
                connection.trial, partial(_made, self._request, client)
            )

    @property
    def is_answered(self) -> bool:
        return self.sent is not None and self.sent.done()

    def answer(self) -> _T:
        if self.sent is None:
            raise AssertionError(self._request)
        return self.sent.result()

    def failed(self, failure: S3Failure, connection: S3Connection, patience_s: float) -> None:
        """Pause before the request is made again.

        Raises:
            S3Failure: It is not: the failure does not pass, or has lasted too long.
        """
        now = time.monotonic()
        self.sent = None
        if not self._failures:
            self._failing_since = now
        lasted_s = now - self._failing_since
        self._failures += 1
        pause_s = min(_PAUSE_MIN_S * 2 ** min(self._failures - 1, 10), _PAUSE_MAX_S)
        pause_s *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads what fails together
        if failure.is_mistake:
            raise failure
        if lasted_s + pause_s > patience_s:
            raise failure.after(self._failures, lasted_s) from failure
        self._again_at = now + pause_s
        connection.tell_outage(failure, patience_s)

    def cancel(self) -> None:
        if self.sent is not None:
            self.sent.cancel()


def _made(request: Request[_T], client: Any) -> _T:
    with s3_errors():
        return request(client)
