"""Kernels before anybody needs them: where nothing can be kept on disk, and across a fork."""

import logging
import os
import subprocess
import sys

import pytest
from numba.core import caching

from tunesmith_core import jit

#: Forks while another thread compiles; the child has to get a suggestion of the model.
FORKED = """
import os, sys, threading
from tunesmith_core import warmup
from tunesmith_core.optimizer import Optimizer
from tunesmith_core.space.ranges import Continuous, SearchSpace
begun = threading.Event()
real = warmup._call_every_kernel
def slow():
    begun.set()
    real()
warmup._call_every_kernel = slow
warmup.start()
assert begun.wait(30)
assert not warmup.is_warm()
child = os.fork()
if not child:
    optimizer = Optimizer(SearchSpace((Continuous(name="x", lo=0, hi=1),)), seed=1)
    for number in range(9):
        (configuration,) = optimizer.ask()
        optimizer.tell(configuration, float(number))
    os._exit(7)
_, status = os.waitpid(child, 0)
assert warmup.is_warm()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.timeout(120)
def test_a_child_that_is_forked_during_the_warm_up_can_suggest() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], timeout=100, check=False)
    assert done.returncode == 7


def test_without_a_place_to_keep_code_kernels_work_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_locator: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)
    jit._say_once.cache_clear()

    def double(x: float) -> float:
        return 2.0 * x

    with caplog.at_level(logging.WARNING, logger="tunesmith_core.jit"):
        assert jit.kernel(double)(1.5) == 3.0
        assert jit.reassociating_kernel(double)(2.5) == 5.0
    assert [record.name for record in caplog.records] == ["tunesmith_core.jit"]
    assert "NUMBA_CACHE_DIR" in caplog.text
