"""Become a trial's program, bound to the life of the runner.

Run by path, isolated (``python -I -S``), as the first thing in a trial's process. It binds the
process to its parent, waits until the runner has noted the process down, and then replaces
itself by the program. It is not imported by the package.

Arguments: the descriptor of the gate (one byte opens it; its end means that the runner gave
up), the descriptor for the error number of a failed exec (which a successful exec closes),
the runner's process id, then the command.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_CANNOT_RUN = 127  # what a shell answers for a program that it cannot run


def _die_with_parent(parent_pid: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the request was in place.
    if os.getppid() != parent_pid:
        os._exit(_CANNOT_RUN)


def main(arguments: list[str]) -> None:
    """Replace this process by the command."""
    gate, status, parent_pid = (int(argument) for argument in arguments[:3])
    command = arguments[3:]
    _die_with_parent(parent_pid)
    os.set_inheritable(gate, False)  # noqa: FBT003 - positional only
    os.set_inheritable(status, False)  # noqa: FBT003 - positional only
    if not os.read(gate, 1):
        os._exit(_CANNOT_RUN)
    # Python ignores these two, and an ignored signal stays so through exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - a shell is not wanted
    except OSError as error:
        os.write(status, str(error.errno).encode())
        os._exit(_CANNOT_RUN)


if __name__ == "__main__":
    main(sys.argv[1:])
