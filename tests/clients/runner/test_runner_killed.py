"""What a runner that was killed leaves, and what its successor makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter, eventually
from tests.clients.runner.fake_server import FakeServer
from tests.clients.runner.test_runner_trials import IGNORE_TERM, is_gone
from tunesmith.runner import data_directory
from tunesmith.runner.contract import TrialTree

RUNNER = """
import asyncio, pathlib, sys
from tunesmith.runner import RunnerSettings, run_runner

settings = RunnerSettings(
    server=pathlib.Path(sys.argv[1]), data_dir=pathlib.Path(sys.argv[2]), name="r", slots=1, gpus=()
)
asyncio.run(run_runner(settings, stop=asyncio.Event()))
"""


@contextmanager
def runner_process(address_file: Path, data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(address_file), str(data_dir)],
        env={**os.environ, "PYTHONPATH": paths},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_killed_runner_takes_its_trials_along_and_its_successor_says_so(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    address_file: Path,
    tmp_path: Path,
) -> None:
    with runner_process(address_file, tmp_path / "runner") as killed:
        key = await server.assign(assignment(f"import os\nprint('me', os.getpid())\n{IGNORE_TERM}"))
        await server.line(key, "ready")
        await server.line(key, "grandchild")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    me, child = (
        int(line.split()[1]) for line in server.lines(key) if line.startswith(("me", "child"))
    )
    await eventually(lambda: is_gone(me))
    # What the trial had started outlives it, until the successor comes.
    assert not is_gone(child)
    async with runner():
        await server.connected(times=2)
        assert is_gone(child)
    first, second = server.hellos
    assert list(second.replaced_instance_ids) == [first.instance_id]
    assert list(second.held_trials) == []
    root = tmp_path / "runner" / "trials" / key[0] / "1"
    assert not (root / "process.json").exists()
    assert not (root / "ml" / "model").exists()
    assert (root / "output.log").exists()


def test_a_stranger_with_a_reused_process_id_is_left_alone(tmp_path: Path) -> None:
    tree = TrialTree(root=tmp_path / "trials" / "job" / "1")
    tree.root.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        data_directory.note_process(tree, stranger.pid)
        data_directory.end_leftovers(tmp_path)
        assert stranger.poll() is None
        stranger.kill()
    assert not tree.mark.exists()


def test_a_process_that_began_before_the_trial_is_left_alone(tmp_path: Path) -> None:
    tree = TrialTree(root=tmp_path / "trials" / "job" / "1")
    tree.root.mkdir(parents=True)
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(tree.ml)}
    with subprocess.Popen(["sleep", "60"], start_new_session=True, env=environment) as other:
        started = psutil.Process(other.pid).create_time() + 60
        tree.mark.write_text(f'{{"pid": {other.pid}, "started": {started}}}')
        data_directory.end_leftovers(tmp_path)
        assert other.poll() is None
        other.kill()


def test_a_broken_mark_is_removed(tmp_path: Path) -> None:
    tree = TrialTree(root=tmp_path / "trials" / "job" / "1")
    tree.root.mkdir(parents=True)
    tree.mark.write_text("{")
    data_directory.end_leftovers(tmp_path)
    assert not tree.mark.exists()


def test_at_most_a_hundred_predecessors_are_remembered(tmp_path: Path) -> None:
    for number in range(120):
        told = data_directory.register_instance(tmp_path, f"instance-{number}")
    assert len(told) == 100
    assert told[-1] == "instance-118"


@pytest.mark.parametrize("content", ["", "{}", '[1, "ok", ""]', "\udce4"])
def test_a_broken_list_of_instances_does_not_keep_a_runner_from_starting(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "instances.json").write_text(content, errors="surrogateescape")
    told = data_directory.register_instance(tmp_path, "mine")
    assert set(told) <= {"ok"}
    assert data_directory.register_instance(tmp_path, "next")[-1] == "mine"
