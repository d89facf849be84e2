"""Checkpoints: in before the program, out beside it and at its end, for the attempts to come."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter, eventually
from tests.clients.runner.fake_server import FakeServer
from tests.s3 import content_of
from tunesmith.runner import RunnerLimits
from tunesmith.runner.checkpoints import Checkpoints, checkpoints_at
from tunesmith.runner.contract import TrialTree
from tunesmith.runner.errors import TrialFailure
from tunesmith.runner.locations import Buckets
from tunesmith.runner.s3_client import S3Connection, S3Patience
from tunesmith.runner.threads import Wanted, WorkUnwanted
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb

JOB = "job-001-0123abcd"


def nothing(_: int) -> None:
    """Never object."""


class Kept:
    """Where checkpoints are kept, as its owner sees it: a directory."""

    uri: str
    buckets: Buckets

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.uri = (tmp_path / "kept").as_uri()
        self.buckets = {}

    def attempt(self, lease_token: int = 1) -> Checkpoints:
        tree = TrialTree(root=self.tmp_path / "trials" / str(lease_token))
        tree.root.mkdir(parents=True, exist_ok=True)
        return checkpoints_at(
            definition_pb.CheckpointConfig(s3_uri=self.uri),
            tree,
            training_job_name=JOB,
            lease_token=lease_token,
            buckets=self.buckets,
        )

    def tree(self) -> dict[str, str]:
        return tree_of(self.tmp_path / "kept" / JOB)

    def changed_at(self) -> dict[str, object]:
        """Give by path what changes when a file is stored anew."""
        stored = self.tmp_path / "kept" / JOB
        return {name: (stored / name).lstat().st_ino for name in self.tree()}


class KeptInBucket(Kept):
    """A bucket that is reached over the network; of links it holds where they lead, in metadata."""

    def __init__(self, tmp_path: Path, client: Any, bucket: str, connection: S3Connection) -> None:
        super().__init__(tmp_path)
        self.client, self.bucket = client, bucket
        self.uri = f"s3://{bucket}/kept/"
        self.connection = connection
        self.buckets = {bucket: connection}

    def tree(self) -> dict[str, str]:
        found: dict[str, str] = {}
        prefix = f"kept/{JOB}/"
        for key, content in content_of(self.client, self.bucket, prefix).items():
            head = self.client.head_object(Bucket=self.bucket, Key=key)
            link = head["Metadata"].get("tunesmith-link")
            found[key.removeprefix(prefix)] = f"-> {link}" if link else content.decode()
        return found

    def changed_at(self) -> dict[str, object]:
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"kept/{JOB}/")
        return {
            each["Key"].rpartition(f"{JOB}/")[2]: each["LastModified"]
            for each in listed["Contents"]
        }


@pytest.fixture
def in_bucket(tmp_path: Path, s3: Any, s3_bucket: str, s3_connection: S3Connection) -> KeptInBucket:
    return KeptInBucket(tmp_path, s3, s3_bucket, s3_connection)


@pytest.fixture
def in_directory(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture(params=["in_directory", "in_bucket"])
def kept(request: pytest.FixtureRequest) -> Kept:
    found: Kept = request.getfixturevalue(request.param)
    return found


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


def test_what_is_new_changed_and_gone_is_mirrored_and_the_next_attempt_finds_it(kept: Kept) -> None:
    first = kept.attempt()
    first.restore(check=nothing)
    (first.local / "deep").mkdir()
    (first.local / "deep" / "a").write_text("a1")
    (first.local / "b").write_text("b1")
    (first.local / "latest").symlink_to("deep/a")
    first.store(check=nothing)
    assert kept.tree() == {"b": "b1", "deep/a": "a1", "latest": "-> deep/a"}
    (first.local / "deep" / "a").write_text("a2, and longer")
    (first.local / "b").unlink()
    (first.local / "c").write_text("c1")
    first.store(check=nothing)
    expected = {"c": "c1", "deep/a": "a2, and longer", "latest": "-> deep/a"}
    assert kept.tree() == expected

    second = kept.attempt(lease_token=2)
    second.restore(check=nothing)
    assert tree_of(second.local) == expected
    before = kept.changed_at()
    (second.local / "d").write_text("d1")
    second.store(check=nothing)
    assert kept.changed_at().items() >= before.items(), "what is unchanged is not copied again"
    (second.local / "deep" / "a").unlink()
    (second.local / "deep").rmdir()
    (second.local / "deep").write_text("a file now")
    (second.local / "c").unlink()
    (second.local / "c").mkdir()
    (second.local / "c" / "e").write_text("in a directory now")
    (second.local / "latest").unlink()
    second.store(check=nothing)
    assert kept.tree() == {"c/e": "in a directory now", "d": "d1", "deep": "a file now"}


def test_files_keep_their_times_and_arrive_in_the_order_of_their_changes(kept: Kept) -> None:
    checkpoints = kept.attempt()
    checkpoints.restore(check=nothing)
    for name, second in (("a-pointer", 30), ("z-model", 20)):
        (checkpoints.local / name).write_text(name)
        os.utime(checkpoints.local / name, (second, second))
    stored: list[str] = []

    def check(count: int) -> None:
        if count:
            stored.extend(name for name in kept.tree() if name not in stored)

    checkpoints.store(check=check)
    assert stored == ["z-model"], "the pointer was read when the model was stored"
    later = kept.attempt(lease_token=2)
    later.restore(check=nothing)
    assert (later.local / "z-model").stat().st_mtime == 20


def test_what_changes_while_it_is_read_is_left_for_the_next_time(kept: Kept) -> None:
    checkpoints = kept.attempt()
    checkpoints.restore(check=nothing)
    model = checkpoints.local / "model"
    model.write_text("old")
    checkpoints.store(check=nothing)
    model.write_text("half")

    def grow(count: int) -> None:
        if count:
            model.write_text("half and whole")

    checkpoints.store(check=grow)
    assert kept.tree() == {"model": "old"}
    checkpoints.store(check=nothing)
    assert kept.tree() == {"model": "half and whole"}


def test_links_that_lead_out_are_not_followed(kept: Kept, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    checkpoints = kept.attempt()
    checkpoints.restore(check=nothing)
    (checkpoints.local / "out").symlink_to(secret / "key")
    (checkpoints.local / "around").symlink_to("../../..")
    (checkpoints.local / "nowhere").symlink_to("nothing")
    os.mkfifo(checkpoints.local / "pipe")
    (checkpoints.local / "planted").mkdir()
    (checkpoints.local / "planted" / "key").write_text("mine")
    checkpoints.store(check=nothing)
    assert kept.tree() == {"planted/key": "mine"}


def test_a_link_that_was_planted_in_a_directory_is_left_out(
    in_directory: Kept, tmp_path: Path
) -> None:
    secret, stored = tmp_path / "secret", tmp_path / "kept" / JOB
    secret.mkdir()
    (secret / "key").write_text("secret")
    stored.mkdir(parents=True)
    (stored / "planted").symlink_to(secret)
    checkpoints = in_directory.attempt()
    checkpoints.restore(check=nothing)
    assert tree_of(checkpoints.local) == {}
    (checkpoints.local / "planted").mkdir()
    (checkpoints.local / "planted" / "key").write_text("mine")
    checkpoints.store(check=nothing)
    assert in_directory.tree() == {"planted/key": "mine"}
    assert (secret / "key").read_text() == "secret"


@pytest.mark.parametrize("target", ["../../../../../secret", "/etc/passwd", "nothing", "%00", "."])
def test_a_link_that_was_planted_in_a_bucket_is_left_out(
    in_bucket: KeptInBucket, tmp_path: Path, target: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    for name, link in (("planted", target), ("planted-after", "planted")):
        in_bucket.client.put_object(
            Bucket=in_bucket.bucket, Key=f"kept/{JOB}/{name}", Metadata={"tunesmith-link": link}
        )
    checkpoints = in_bucket.attempt()
    checkpoints.restore(check=nothing)
    for path in checkpoints.local.iterdir():
        assert path.resolve().is_relative_to(checkpoints.local.resolve())


@pytest.mark.parametrize("key", ["../a", "a//b", "./a"])
def test_a_key_in_the_bucket_that_can_be_no_file_fails_the_trial(
    in_bucket: KeptInBucket, key: str
) -> None:
    in_bucket.client.put_object(Bucket=in_bucket.bucket, Key=f"kept/{JOB}/{key}", Body=b"x")
    with pytest.raises(TrialFailure, match="which can be no file"):
        in_bucket.attempt().restore(check=nothing)


def test_a_store_that_is_away_is_told_and_tried_again(in_bucket: KeptInBucket) -> None:
    checkpoints = in_bucket.attempt()
    checkpoints.restore(check=nothing)
    (checkpoints.local / "a").write_text("a")
    away = in_bucket.client.exceptions.ClientError
    with pytest.MonkeyPatch.context() as patch:
        client = in_bucket.connection.client()

        def refuse(**_: object) -> None:
            raise away(
                {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}},
                "GetObject",
            )

        patch.setattr(client, "get_object", refuse)
        patch.setattr(in_bucket.connection, "patience", S3Patience(reading_s=0.0))
        with pytest.raises(OSError, match="S3 says SlowDown"):
            checkpoints.store(check=nothing)
    checkpoints.store(check=nothing)
    assert in_bucket.tree() == {"a": "a"}


def test_an_attempt_that_has_lost_its_lease_stores_nothing_any_more(kept: Kept) -> None:
    first = kept.attempt()
    first.restore(check=nothing)
    (first.local / "a").write_text("first")
    first.store(check=nothing)
    second = kept.attempt(lease_token=2)
    second.restore(check=nothing)
    (second.local / "a").write_text("second")
    second.store(check=nothing)
    (first.local / "a").unlink()
    (first.local / "b").write_text("late")
    first.store(check=nothing)
    assert kept.tree() == {"a": "second"}
    with pytest.raises(TrialFailure, match="InternalServerError: a later attempt"):
        first.restore(check=nothing)


def test_what_a_killed_attempt_had_not_finished_is_no_checkpoint(kept: Kept) -> None:
    first = kept.attempt()
    first.restore(check=nothing)
    (first.local / "a").write_text("whole")
    first.store(check=nothing)
    (first.local / "b").write_text("b")
    wanted = Wanted()

    def killed(count: int) -> None:
        if count:
            wanted.end()
        wanted.check()

    with pytest.raises(WorkUnwanted):
        first.store(check=killed)
    aside = kept.tmp_path / "kept" / f".{JOB}"
    if aside.is_dir():
        (aside / "1.unfinished").write_text("half")
    second = kept.attempt(lease_token=2)
    second.restore(check=nothing)
    assert tree_of(second.local) == {"a": "whole"}
    if aside.is_dir():
        assert [path.name for path in aside.iterdir()] == ["lease"]


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
    place = checkpoints_at(config, tree, training_job_name=JOB, lease_token=1, buckets={})
    assert place.local == tree.ml / inner


@pytest.mark.parametrize(
    "local_path",
    ["/", "/tmp", "checkpoints", "/opt/ml", "/opt/ml/model", "/opt/ml/a/../../../etc"],  # noqa: S108 - refused
)
def test_another_directory_is_refused_by_name(tmp_path: Path, local_path: str) -> None:
    config = definition_pb.CheckpointConfig(s3_uri=tmp_path.as_uri(), local_path=local_path)
    tree = TrialTree(root=tmp_path / "trials" / "1")
    with pytest.raises(TrialFailure, match=r"ClientError: CheckpointConfig.LocalPath is "):
        checkpoints_at(config, tree, training_job_name=JOB, lease_token=1, buckets={})


def test_a_place_that_cannot_be_written_to_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = definition_pb.CheckpointConfig(s3_uri=(tmp_path / "file" / "x").as_uri())
    tree = TrialTree(root=tmp_path / "trials" / "1")
    with pytest.raises(TrialFailure, match=r"S3Uri is .*/file is no directory"):
        checkpoints_at(config, tree, training_job_name=JOB, lease_token=1, buckets={})


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
