"""Linear algebra on one thread: for as long as anybody needs it, and no longer."""

import threading
from collections.abc import Iterator

import pytest
import scipy.linalg  # noqa: F401 - loads scipy's own BLAS
from threadpoolctl import ThreadpoolController

from tunesmith_core import threads

LIBRARIES = ThreadpoolController()


@pytest.fixture
def several() -> Iterator[None]:
    """Have BLAS on two threads, whatever the machine has."""
    with LIBRARIES.limit(limits=2, user_api="blas"):
        yield


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in LIBRARIES.info() if library["user_api"] == "blas"}


@pytest.mark.usefixtures("several")
def test_blocks_that_overlap_keep_the_limit_until_the_last_one_ends() -> None:
    first, second = threads.on_one_thread(), threads.on_one_thread()
    assert blas_threads() == {2}
    first.__enter__()
    second.__enter__()
    assert blas_threads() == {1}
    first.__exit__(None, None, None)
    assert blas_threads() == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == {2}


@pytest.mark.usefixtures("several")
def test_many_threads_leave_the_process_as_it_was() -> None:
    seen: list[set[int]] = []
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(10)
        for _ in range(50):
            with threads.on_one_thread():
                seen.append(blas_threads())

    running = [threading.Thread(target=work) for _ in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(30)
    assert len(seen) == 200
    assert all(each == {1} for each in seen)
    assert blas_threads() == {2}


@pytest.mark.usefixtures("several")
def test_an_error_within_ends_the_limit() -> None:
    with pytest.raises(ZeroDivisionError), threads.on_one_thread():
        _ = 1 / 0
    assert blas_threads() == {2}
