"""Commands of ``tunesmith`` as processes of their own."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

TUNESMITH: Final = (sys.executable, "-m", "tunesmith_server.cli")


@contextmanager
def heard_ctrl_c() -> Iterator[None]:
    """Let what is started within hear Ctrl-C, as what a terminal starts does.

    What a shell starts in the background ignores it, and so does all that is started from there.
    A handler, unlike that, is not handed on to another program: it begins with the default.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
