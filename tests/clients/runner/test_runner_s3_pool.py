"""The threads of a runner's requests: each request that may run has one, whoever else's hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tunesmith.runner.s3_pool import TransferPool

_LONG_S = 10.0


class _Telling(threading.Condition):
    """Tells that a thread waits: who has the lock after that finds it waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.has_waiter = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.has_waiter.set()
        return super().wait(timeout)


@pytest.fixture
def changed() -> _Telling:
    return _Telling()


@pytest.fixture
def pool(changed: _Telling) -> Iterator[TransferPool]:
    pool = TransferPool(3, of_one=2)
    pool._changed = changed  # to know when a thread is idle
    yield pool
    pool.close()


def test_requests_after_an_idle_thread_do_not_all_count_on_it(
    pool: TransferPool, changed: _Telling
) -> None:
    pool.submit("first", lambda: None).result(_LONG_S)
    assert changed.has_waiter.wait(_LONG_S)
    goes_on = threading.Event()
    try:
        # The lock is kept: the idle thread is told of the first request, and cannot wake yet.
        with changed:
            hung = pool.submit("hung", lambda: goes_on.wait(_LONG_S))
            other = pool.submit("other", lambda: "answered")
        assert other.result(_LONG_S / 2) == "answered"
        assert not hung.done()
    finally:
        goes_on.set()


def test_an_idle_thread_is_used_before_another_is_started(
    pool: TransferPool, changed: _Telling
) -> None:
    for _ in range(5):
        changed.has_waiter.clear()
        pool.submit("one", lambda: None).result(_LONG_S)
        assert changed.has_waiter.wait(_LONG_S)
    assert len(pool._threads) == 1  # nothing else tells


def test_what_one_owner_may_not_run_yet_starts_no_thread(pool: TransferPool) -> None:
    goes_on = threading.Event()
    answers = [pool.submit("one", lambda: goes_on.wait(_LONG_S)) for _ in range(5)]
    assert len(pool._threads) == 2  # as many as one may run
    goes_on.set()
    assert all(answer.result(_LONG_S) for answer in answers)


def test_a_thread_that_cannot_be_started_leaves_the_pool_as_it_was(
    pool: TransferPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    goes_on = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start"):
            pool.submit("one", lambda: None)
    hung = pool.submit("one", lambda: goes_on.wait(_LONG_S))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        later = pool.submit("two", lambda: "later")
    # The next one makes up for it.
    assert pool.submit("two", lambda: "next").result(_LONG_S / 2) == "next"
    assert later.result(_LONG_S) == "later"
    assert not hung.done()
    goes_on.set()
