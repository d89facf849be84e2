"""A runner's data directory: who uses it, who used it before, and what they left behind.

Layout::

    lock                              held by the runner that uses the directory
    instances.json                    ids of the instances that ran here, oldest first
    trials/<training job>/<lease>/    one attempt at a trial, see ``contract.TrialTree``

Of an attempt that has ended, its whole output, the contract's JSON files and the failure file
stay; model, data, code, checkpoints and whatever else lies beside them go.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from tunesmith.runner.contract import TrialTree
from tunesmith.runner.errors import RunnerBusy

_LOGGER: Final = logging.getLogger(__name__)

# The wire takes no more replaced instances, and no longer ids.
_INSTANCES_MAX: Final = 100
_INSTANCE_ID_MAX: Final = 64
# The system's boot time, from which start times are computed, may be set right by this much.
_START_TOLERANCE_S: Final = 2.0
_KILL_S: Final = 5.0


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process.

    Raises:
        RunnerBusy: Another process holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode("ascii", errors="replace").strip()
            raise RunnerBusy(
                f"a runner (process {holder or 'unknown'}) uses {data_dir}: stop it, or give this "
                "one another data directory"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def register_instance(data_dir: Path, instance_id: str) -> list[str]:
    """Note this instance down, durably, and tell which ones ran here before.

    Returns:
        At most 100 ids, oldest first.
    """
    path = data_dir / "instances.json"
    predecessors = [name for name in _read_list(path) if 1 <= len(name) <= _INSTANCE_ID_MAX]
    kept = [*predecessors, instance_id][-_INSTANCES_MAX:]
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(kept, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    return predecessors[-_INSTANCES_MAX:]


def note_process(tree: TrialTree, pid: int) -> None:
    """Note a trial's running process down, so that a successor can end it."""
    started = psutil.Process(pid).create_time()
    tree.mark.write_text(json.dumps({"pid": pid, "started": started}), encoding="utf-8")


def discard(tree: TrialTree) -> None:
    """Remove what an ended attempt needs no more; see the module's text for what stays."""
    kept = (tree.config.parent, tree.output)
    with suppress(OSError):
        for path in list(tree.ml.iterdir()):
            if path not in kept and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
    for directory in (tree.output_data, tree.data):
        shutil.rmtree(directory, ignore_errors=True)
    with suppress(OSError):
        tree.mark.unlink(missing_ok=True)


def end_leftovers(data_dir: Path) -> None:
    """Kill the trials' processes that a dead predecessor left behind, and tidy up after them."""
    for mark in sorted(data_dir.glob("trials/*/*/process.json")):
        tree = TrialTree(root=mark.parent)
        _LOGGER.warning("tidying up after an unfinished trial in %s", tree.root)
        _kill(_left_processes(tree))
        discard(tree)


def _read_list(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in content if isinstance(name, str)] if isinstance(content, list) else []


def _left_processes(tree: TrialTree) -> list[psutil.Process]:
    """Find the processes of an attempt: its group's members that carry the trial's environment.

    The number of a process or a group may have been given to a stranger since; a stranger does
    not have this trial's directory in its environment, or began before the trial.
    """
    try:
        noted = json.loads(tree.mark.read_text(encoding="utf-8"))
        group, started = int(noted["pid"]), float(noted["started"])
    except (OSError, ValueError, TypeError, KeyError):
        return []
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if (
                os.getpgid(process.pid) == group
                and process.create_time() > started - _START_TOLERANCE_S
                and process.environ().get("SAGEMAKER_BASE_DIR") == str(tree.ml)
            ):
                found.append(process)
    return found


def _kill(processes: Iterable[psutil.Process]) -> None:
    told = list(processes)
    for process in told:
        # psutil compares the start time first: a number reused in between is not hit.
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(told, timeout=_KILL_S)
    for process in alive:
        _LOGGER.error("process %d of an unfinished trial outlives its SIGKILL", process.pid)
