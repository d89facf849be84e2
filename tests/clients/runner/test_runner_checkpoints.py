"""Checkpoints: in before the program, out beside it and at its end, for the attempts to come."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter, eventually
from tests.clients.runner.fake_server import FakeServer
from tunesmith.runner import RunnerLimits
from tunesmith.runner.checkpoints import CheckpointPlace, Checkpoints, checkpoint_place
from tunesmith.runner.contract import TrialTree
from tunesmith.runner.errors import TrialFailure
from tunesmith.runner.threads import Wanted, WorkUnwanted
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

JOB = "job-001-0123abcd"


def nothing(_: int) -> None:
    """Never object."""


def attempt(tmp_path: Path, lease_token: int = 1) -> tuple[Checkpoints, CheckpointPlace]:
    place = checkpoint_place(
        definition_pb.CheckpointConfig(s3_uri=(tmp_path / "kept").as_uri()),
        TrialTree(root=tmp_path / "trials" / str(lease_token)),
        training_job_name=JOB,
        lease_token=lease_token,
        buckets={},
    )
    return Checkpoints(place), place


def tree_of(directory: Path) -> dict[str, str]:
    """Give every file's content, and where every link leads, by path."""
    found: dict[str, str] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_text()
    return found


def test_each_training_job_has_a_folder_of_its_own(tmp_path: Path) -> None:
    _, place = attempt(tmp_path)
    assert place.stored == tmp_path / "kept" / JOB
    assert place.local == tmp_path / "trials" / "1" / "ml" / "checkpoints"


def test_what_is_new_changed_and_gone_is_mirrored_and_the_next_attempt_finds_it(
    tmp_path: Path,
) -> None:
    first, place = attempt(tmp_path)
    first.restore(check=nothing)
    (place.local / "deep").mkdir()
    (place.local / "deep" / "a").write_text("a1")
    (place.local / "b").write_text("b1")
    (place.local / "latest").symlink_to("deep/a")
    first.store(check=nothing)
    assert tree_of(place.stored) == {"b": "b1", "deep/a": "a1", "latest": "-> deep/a"}
    (place.local / "deep" / "a").write_text("a2, and longer")
    (place.local / "b").unlink()
    (place.local / "c").write_text("c1")
    first.store(check=nothing)
    expected = {"c": "c1", "deep/a": "a2, and longer", "latest": "-> deep/a"}
    assert tree_of(place.stored) == expected

    second, later = attempt(tmp_path, lease_token=2)
    second.restore(check=nothing)
    assert tree_of(later.local) == expected
    before = (later.stored / "c").stat().st_ino
    second.store(check=nothing)
    assert (later.stored / "c").stat().st_ino == before, "what is unchanged is not copied again"
    (later.local / "deep" / "a").unlink()
    (later.local / "deep").rmdir()
    (later.local / "deep").write_text("a file now")
    second.store(check=nothing)
    assert tree_of(later.stored) == {"c": "c1", "deep": "a file now"}


def test_files_keep_their_times_and_arrive_in_the_order_of_their_changes(tmp_path: Path) -> None:
    checkpoints, place = attempt(tmp_path)
    checkpoints.restore(check=nothing)
    for name, second in (("a-pointer", 30), ("z-model", 20)):
        (place.local / name).write_text(name)
        os.utime(place.local / name, (second, second))
    stored: list[str] = []

    def check(count: int) -> None:
        if count:
            stored.extend(name for name in tree_of(place.stored) if name not in stored)

    checkpoints.store(check=check)
    assert stored == ["z-model"], "the pointer was read when the model was stored"
    assert (place.stored / "z-model").stat().st_mtime == 20


def test_what_changes_while_it_is_read_is_left_for_the_next_time(tmp_path: Path) -> None:
    checkpoints, place = attempt(tmp_path)
    checkpoints.restore(check=nothing)
    model = place.local / "model"
    model.write_text("old")
    checkpoints.store(check=nothing)
    model.write_text("half")

    def grow(count: int) -> None:
        if count:
            model.write_text("half and whole")

    checkpoints.store(check=grow)
    assert tree_of(place.stored) == {"model": "old"}
    checkpoints.store(check=nothing)
    assert tree_of(place.stored) == {"model": "half and whole"}


def test_links_that_lead_out_are_not_followed_either_way(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    checkpoints, place = attempt(tmp_path)
    place.stored.mkdir(parents=True)
    (place.stored / "planted").symlink_to(secret)
    checkpoints.restore(check=nothing)
    assert tree_of(place.local) == {}
    (place.local / "out").symlink_to(secret / "key")
    (place.local / "around").symlink_to("../../..")
    (place.local / "nowhere").symlink_to("nothing")
    os.mkfifo(place.local / "pipe")
    (place.local / "planted").mkdir()
    (place.local / "planted" / "key").write_text("mine")
    checkpoints.store(check=nothing)
    assert tree_of(place.stored) == {"planted/key": "mine"}
    assert (secret / "key").read_text() == "secret"


def test_an_attempt_that_has_lost_its_lease_stores_nothing_any_more(tmp_path: Path) -> None:
    first, place = attempt(tmp_path)
    first.restore(check=nothing)
    (place.local / "a").write_text("first")
    first.store(check=nothing)
    second, later = attempt(tmp_path, lease_token=2)
    second.restore(check=nothing)
    (later.local / "a").write_text("second")
    second.store(check=nothing)
    (place.local / "a").unlink()
    (place.local / "b").write_text("late")
    first.store(check=nothing)
    assert tree_of(place.stored) == {"a": "second"}
    with pytest.raises(TrialFailure, match="InternalServerError: a later attempt"):
        first.restore(check=nothing)


def test_what_a_killed_attempt_had_not_finished_is_no_checkpoint(tmp_path: Path) -> None:
    first, place = attempt(tmp_path)
    first.restore(check=nothing)
    (place.local / "a").write_text("whole")
    first.store(check=nothing)
    (place.local / "b").write_text("b")
    wanted = Wanted()

    def killed(count: int) -> None:
        if count:
            wanted.end()
        wanted.check()

    with pytest.raises(WorkUnwanted):
        first.store(check=killed)
    (place.aside / "1.unfinished").write_text("half")
    second, later = attempt(tmp_path, lease_token=2)
    second.restore(check=nothing)
    assert tree_of(later.local) == {"a": "whole"}
    assert [path.name for path in place.aside.iterdir()] == ["lease"]


@pytest.mark.parametrize(
    ("local_path", "inner"),
    [
        ("", "checkpoints"),
        ("/opt/ml/checkpoints/", "checkpoints"),
        ("/opt/ml/state/best", "state/best"),
    ],
)
def test_a_directory_under_opt_ml_is_one_under_the_trials_own(
    tmp_path: Path, local_path: str, inner: str
) -> None:
    config = definition_pb.CheckpointConfig(s3_uri=tmp_path.as_uri(), local_path=local_path)
    tree = TrialTree(root=tmp_path / "trials" / "1")
    place = checkpoint_place(config, tree, training_job_name=JOB, lease_token=1, buckets={})
    assert place.local == tree.ml / inner


@pytest.mark.parametrize(
    "local_path",
    ["/", "/tmp", "checkpoints", "/opt/ml", "/opt/ml/model", "/opt/ml/a/../../../etc"],  # noqa: S108 - refused
)
def test_another_directory_is_refused_by_name(tmp_path: Path, local_path: str) -> None:
    config = definition_pb.CheckpointConfig(s3_uri=tmp_path.as_uri(), local_path=local_path)
    tree = TrialTree(root=tmp_path / "trials" / "1")
    with pytest.raises(TrialFailure, match=r"ClientError: CheckpointConfig.LocalPath is "):
        checkpoint_place(config, tree, training_job_name=JOB, lease_token=1, buckets={})


def test_a_place_that_cannot_be_written_to_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = definition_pb.CheckpointConfig(s3_uri=(tmp_path / "file" / "x").as_uri())
    tree = TrialTree(root=tmp_path / "trials" / "1")
    with pytest.raises(TrialFailure, match=r"S3Uri is .*/file is no directory"):
        checkpoint_place(config, tree, training_job_name=JOB, lease_token=1, buckets={})


#: Counts on from its checkpoint, and says where it began; is killed, or waits, where it is told to.
COUNTING = """
import os, pathlib, signal, sys, time
state = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'], 'checkpoints', 'state')
begin = int(state.read_text()) if state.exists() else 0
print('begin', begin)
for count in range(begin + 1, 7):
    unfinished = state.with_name('unfinished')
    unfinished.write_text(str(count))
    unfinished.rename(state)
    print('count', count)
    if count == {stays_at}:
        time.sleep(60)
"""


async def test_a_trial_that_is_killed_mid_way_goes_on_from_its_checkpoint(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    config = definition_pb.CheckpointConfig(s3_uri=(tmp_path / "kept").as_uri())
    stored = tmp_path / "kept" / JOB / "state"
    async with runner(limits=RunnerLimits(checkpoint_s=0.05)):
        key = await server.assign(
            assignment(
                f"print('pid', __import__('os').getpid())\n{COUNTING.format(stays_at=3)}",
                checkpoint_config=config,
            )
        )
        await server.line(key, "count 3")
        await eventually(lambda: stored.exists() and stored.read_text() == "3")
        (line,) = [line for line in server.lines(key) if line.startswith("pid")]
        os.kill(int(line.split()[1]), 9)
        ended = await server.ended(key)
        assert (ended.outcome, ended.retryable) == (pb.TRIAL_OUTCOME_FAILED, True)
        again = await server.assign(
            assignment(COUNTING.format(stays_at=0), lease_token=2, checkpoint_config=config)
        )
        ended = await server.ended(again)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED
    assert [line for line in server.lines(again) if line[:5] in ("begin", "count")] == [
        "begin 3",
        "count 4",
        "count 5",
        "count 6",
    ]
    assert pb.TRIAL_STAGE_DOWNLOADING in server.stages(again)
    assert stored.read_text() == "6", "what the program left at its end is stored"
    local = tmp_path / "runner" / "trials" / JOB / "2" / "ml" / "checkpoints"
    await eventually(lambda: not local.exists())


#: Leaves a checkpoint in its grace.
LEAVING = """
import os, pathlib, signal, sys, time
def leave(*_):
    pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'], 'checkpoints', 'state').write_text('last')
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print('ready')
time.sleep(60)
"""


@pytest.mark.parametrize("is_pause", [False, True])
async def test_a_trial_that_is_given_back_leaves_what_it_wrote_in_its_grace(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    tmp_path: Path,
    *,
    is_pause: bool,
) -> None:
    config = definition_pb.CheckpointConfig(s3_uri=(tmp_path / "kept").as_uri())
    async with runner() as stop:
        key = await server.assign(assignment(LEAVING, checkpoint_config=config))
        await server.line(key, "ready")
        if is_pause:
            asked = pb.TrialStop(training_job_name=JOB, lease_token=1, gives_back=True)
            await server.send(pb.ConnectResponse(stop=asked))
        else:
            stop.set()
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_RETURNED
    assert pb.TRIAL_STAGE_STOPPING not in server.stages(key)
    assert pb.TRIAL_STAGE_UPLOADING not in server.stages(key), "it has no model yet"
    assert (tmp_path / "kept" / JOB / "state").read_text() == "last"


async def test_a_stop_overtakes_a_pause_on_the_runner(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('asked'))\n"
    code += "print('ready')\nwhile True: time.sleep(0.05)"
    async with runner():
        key = await server.assign(assignment(code, stop_grace_s=1.0))
        await server.line(key, "ready")
        asked = pb.TrialStop(training_job_name=JOB, lease_token=1, gives_back=True)
        await server.send(pb.ConnectResponse(stop=asked))
        await server.line(key, "asked")
        await server.stop_trial(key)
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_STOPPED


async def test_checkpoints_that_cannot_be_stored_end_no_trial_and_are_told(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    code = f"""
import os, pathlib, shutil
shutil.rmtree({str(kept / JOB)!r})
pathlib.Path({str(kept / JOB)!r}).write_text('in the way')
pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'], 'checkpoints', 'state').write_text('1')
"""
    config = definition_pb.CheckpointConfig(s3_uri=kept.as_uri())
    async with runner():
        key = await server.assign(assignment(code, checkpoint_config=config))
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED
    (line,) = server.lines(key)
    assert line.startswith("[runner] the checkpoints could not be stored: ")
