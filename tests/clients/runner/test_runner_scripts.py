"""Script mode on a runner: archives, safely unpacked, and the command line of their script."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter
from tests.clients.runner.fake_server import FakeServer
from tunesmith.runner.errors import TrialFailure
from tunesmith.runner.scripts import Script, script_command, script_of, unpack_script
from tunesmith.runner.threads import WorkUnwanted
from tunesmith.v1 import runner_service_pb2 as pb

TRAIN = """
import json, os, sys
from helper import answer
print("args " + json.dumps(sys.argv[1:]))
print("env " + json.dumps({name: os.environ[name] for name in (
    "SM_MODULE_NAME", "SM_MODULE_DIR", "SM_USER_ENTRY_POINT", "SM_HPS")}, sort_keys=True))
print("python " + sys.executable)
print("loss=%d;" % answer)
"""


def nothing(_: int) -> None:
    """Never object."""


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def archive(path: Path, *members: tarfile.TarInfo, **files: str) -> Script:
    """Write an archive of members without content, and of files with theirs; train.py is there."""
    with tarfile.open(path, "w:gz") as tar:
        for each in (member("./", tarfile.DIRTYPE), member("train.py"), *members):
            tar.addfile(each)
        for name, text in files.items():
            info = member(name.replace("__", "/") + ".py")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return Script(program="train.py", source=path.as_uri())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    directory = tmp_path / "code"
    directory.mkdir()
    return directory


def unpacked(script: Script, target: Path, check: Callable[[int], None] = nothing) -> set[str]:
    unpack_script(script, target, buckets={}, check=check)
    return {os.fspath(path.relative_to(target)) for path in target.rglob("*")}


def test_files_directories_and_inner_links_are_unpacked(tmp_path: Path, target: Path) -> None:
    script = archive(
        tmp_path / "a.tar.gz",
        member("data", tarfile.DIRTYPE),
        member("link.py", tarfile.SYMTYPE, "lib/helper.py"),
        lib__helper="answer = 1",
    )
    assert unpacked(script, target) == {"train.py", "data", "lib", "lib/helper.py", "link.py"}
    assert (target / "link.py").read_text() == "answer = 1"


@pytest.mark.parametrize(
    "wrong",
    [
        (member("/tmp/x"),),  # noqa: S108 - refused
        (member("../x"),),
        (member("a/../../x"),),
        (member("out", tarfile.SYMTYPE, "/etc"),),
        (member("out", tarfile.SYMTYPE, "../.."),),
        (member("in", tarfile.SYMTYPE, "."), member("out", tarfile.SYMTYPE, "in/../..")),
        (member("out", tarfile.SYMTYPE, "/etc"), member("out/x")),
        (member("x", tarfile.LNKTYPE, "later.py"), member("later.py")),
        (member("x", tarfile.LNKTYPE, "/etc/hostname"),),
        (member("x", tarfile.LNKTYPE, "x"),),
        (member("loop", tarfile.SYMTYPE, "loop"),),
        # What is missing for the system is taken back by Python, which finds the loop behind it.
        (member("l", tarfile.SYMTYPE, "no/../loop"), member("loop", tarfile.SYMTYPE, "loop")),
        (member("f" * 300),),
        (member("/".join(["d"] * 300)),),
        (member("link", tarfile.SYMTYPE, "f" * 300),),
        (member("x", tarfile.FIFOTYPE),),
        (member("x", tarfile.CHRTYPE),),
        (member("x", tarfile.LNKTYPE, "x"), member("x")),
        (member("x", tarfile.SYMTYPE, "/etc"), member("y", tarfile.LNKTYPE, "x"), member("x")),
        (member("x/y"), member("x", tarfile.SYMTYPE, "train.py")),
        (member("x", tarfile.SYMTYPE, "."), member("x/y")),
        (member("x"), member("x/y")),
        (member("x/y"), member("x")),
    ],
)
def test_an_archive_with_what_it_may_not_hold_is_refused(
    tmp_path: Path, target: Path, wrong: tuple[tarfile.TarInfo, ...]
) -> None:
    script = archive(tmp_path / "a.tar.gz", *wrong)
    before = {path for path in tmp_path.rglob("*") if target not in path.parents}
    with pytest.raises(TrialFailure, match="ClientError: cannot unpack file:///"):
        unpacked(script, target)
    assert {path for path in tmp_path.rglob("*") if target not in path.parents} == before
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("through", [(), (member("out/made/link", tarfile.SYMTYPE, "."),)])
def test_links_that_lead_out_only_together_are_refused_and_nothing_is_made_through_them(
    tmp_path: Path, target: Path, through: tuple[tarfile.TarInfo, ...]
) -> None:
    # Each is harmless while the other is not there: "in" is a name then, which ".." takes back.
    script = archive(
        tmp_path / "a.tar.gz",
        member("deep/er", tarfile.DIRTYPE),
        member("out", tarfile.SYMTYPE, "deep/er/in/../../.."),
        member("deep/er/in", tarfile.SYMTYPE, "../.."),
        *through,
    )
    with pytest.raises(TrialFailure, match="ClientError: cannot unpack"):
        unpacked(script, target)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "code"}
    assert list(target.iterdir()) == []


def test_a_hard_link_becomes_a_copy(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "a.tar.gz"
    original = member("lib/tool.sh")
    original.mode, original.size = 0o755, 7
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(original, io.BytesIO(b"echo hi"))
        tar.addfile(member("train.py", tarfile.LNKTYPE, "lib/tool.sh"))
    unpacked(Script(program="train.py", source=path.as_uri()), target)
    copy = target / "train.py"
    assert (copy.read_bytes(), copy.stat().st_nlink, copy.stat().st_mode & 0o777) == (
        *(b"echo hi", 1),
        0o755,
    )


@pytest.mark.parametrize(
    ("members", "leads_to"),
    [
        ((member("x", tarfile.SYMTYPE, "train.py"),) * 2, "train.py"),
        ((member("x"), member("./x", tarfile.SYMTYPE, "train.py")), "train.py"),
        ((member("x", tarfile.SYMTYPE, "/etc"), member("x")), None),
        ((member("x", tarfile.SYMTYPE, "/"), member("x", tarfile.SYMTYPE, "train.py")), "train.py"),
        ((member("x", tarfile.SYMTYPE, "/"), member("x", tarfile.LNKTYPE, "train.py")), None),
        ((member("x"), member("./x", tarfile.LNKTYPE, "x")), None),
        (
            (member("l", tarfile.SYMTYPE, "train.py"), member("x", tarfile.LNKTYPE, "./l")),
            "train.py",
        ),
        (
            (member("x", tarfile.SYMTYPE, "train.py"), member("x", tarfile.LNKTYPE, "x")),
            "train.py",
        ),
        # A label is no path.
        ((member("/backup of ../x", b"V"), member("x")), None),
    ],
)
def test_a_later_member_takes_an_earlier_ones_place(
    tmp_path: Path, target: Path, members: tuple[tarfile.TarInfo, ...], leads_to: str | None
) -> None:
    found = unpacked(archive(tmp_path / "a.tar.gz", *members), target)
    assert found - {"l"} == {"train.py", "x"}
    assert (target / "x").is_file()
    assert ((target / "x").readlink() if (target / "x").is_symlink() else None) == (
        leads_to and Path(leads_to)
    )
    assert not (target / "train.py").is_symlink()


def compressed(path: Path, *blocks: bytes) -> Script:
    """Write what is no archive that tarfile would write."""
    with gzip.open(path, "wb") as file:
        for block in blocks:
            file.write(block + bytes(-len(block) % tarfile.BLOCKSIZE))
    return Script(program="train.py", source=path.as_uri())


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_an_extended_header_takes_no_memory_before_it_is_refused(
    tmp_path: Path, target: Path, kind: bytes
) -> None:
    header = member("header", kind)
    header.size = 1024**3
    mebibyte = bytes(1024**2)
    script = compressed(tmp_path / "a.tar.gz", header.tobuf(), *[mebibyte] * 16)
    tracemalloc.start()
    try:
        with pytest.raises(TrialFailure, match=r"ClientError: .* extended headers of more than"):
            unpacked(script, target)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "record",
    ["GNU.sparse.map=abc", "size=-5", "size=abc", "path=../x", "path=a\0b", "linkpath", "path=/x"],
)
def test_an_extended_header_that_cannot_be_read_is_the_clients_error(
    tmp_path: Path, target: Path, record: str
) -> None:
    length = len(record) + 2
    length += len(str(length + 1))
    payload = f"{length} {record}\n".encode()
    header = member("header", tarfile.XHDTYPE)
    header.size = len(payload)
    script = compressed(
        tmp_path / "a.tar.gz", header.tobuf(), payload, member("train.py").tobuf(), bytes(1024)
    )
    with pytest.raises(TrialFailure, match=r"ClientError: cannot unpack"):
        unpacked(script, target)


@pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_every_layout_of_archives_is_read(tmp_path: Path, target: Path, layout: int) -> None:
    name = "/".join(["d" * 50, "e" * 50, "f" * 90])
    link = "d" * 99 if layout == tarfile.USTAR_FORMAT else "d" * 120
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=layout) as tar:
        for each in (member("train.py"), member("to", tarfile.SYMTYPE, link)):
            tar.addfile(each)
        content = member(name if layout == tarfile.USTAR_FORMAT else f"{name}/\N{SNOWMAN}")
        content.size = 1000
        tar.addfile(content, io.BytesIO(b"x" * 1000))
    unpacked(Script(program="train.py", source=(tmp_path / "a.tar.gz").as_uri()), target)
    assert (target / content.name).read_bytes() == b"x" * 1000
    assert (target / "to").readlink() == Path(link)


def test_unpacking_ends_in_the_middle_of_what_gives_nothing(tmp_path: Path, target: Path) -> None:
    # Empty members of gzip, of which no decompressed byte ever comes.
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"") * 100_000)
    asked = 0

    def check(_: int) -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise WorkUnwanted

    script = Script(program="train.py", source=(tmp_path / "a.tar.gz").as_uri())
    with pytest.raises(WorkUnwanted):
        unpacked(script, target, check)


def test_an_archive_without_the_script_is_refused(tmp_path: Path, target: Path) -> None:
    archive(tmp_path / "a.tar.gz")
    script = Script(program="other.py", source=(tmp_path / "a.tar.gz").as_uri())
    with pytest.raises(TrialFailure, match=r"ClientError: .*: it has no file 'other\.py'"):
        unpacked(script, target)


@pytest.mark.parametrize("cut", [0, 1, 40, 100])
def test_what_is_no_whole_archive_is_refused(tmp_path: Path, target: Path, cut: int) -> None:
    script = archive(tmp_path / "a.tar.gz", helper="answer = 1\n" * 100)
    whole = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[:cut])
    with pytest.raises(TrialFailure, match=r"ClientError: .*: it is no whole \.tar\.gz"):
        unpacked(script, target)


def test_a_missing_archive_is_the_clients_error(tmp_path: Path, target: Path) -> None:
    script = Script(program="train.py", source=(tmp_path / "gone.tar.gz").as_uri())
    with pytest.raises(TrialFailure, match=r"ClientError: cannot read .*: No such file"):
        unpacked(script, target)


@pytest.mark.parametrize("has_writer", [False, True])
def test_an_archive_that_is_a_pipe_is_refused_at_once(
    tmp_path: Path, target: Path, *, has_writer: bool
) -> None:
    pipe = tmp_path / "a.tar.gz"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR) if has_writer else None
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(unpacked, Script(program="train.py", source=pipe.as_uri()), target)
        try:
            with pytest.raises(TrialFailure, match=r"ClientError: cannot read .*no regular file"):
                answer.result(timeout=5)
        finally:
            # Lets go of who opened it after all.
            os.close(os.open(pipe, os.O_RDWR) if held is None else held)


def test_an_archive_has_bounds(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = archive(tmp_path / "a.tar.gz", helper="x" * 5000)
    for bound in ("_FILES_MAX", "_BYTES_MAX"):
        with monkeypatch.context() as patch:
            patch.setattr(f"tunesmith.runner.unpacking.{bound}", 2)
            with pytest.raises(TrialFailure, match="it holds more than"):
                unpacked(script, target)
    told: list[int] = []
    unpacked(script, target, told.append)
    assert sum(told) == 5000


def test_directories_that_names_imply_are_counted(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = archive(tmp_path / "a.tar.gz", member("a/b/c/f"), member("a/b/d/f"))
    # As many as there are members, and as there are directories.
    monkeypatch.setattr("tunesmith.runner.unpacking._FILES_MAX", 4)
    assert "a/b/d/f" in unpacked(script, target)
    script = archive(tmp_path / "a.tar.gz", member("e/f/g/h/i/f"))
    with pytest.raises(TrialFailure, match="it holds more than 4 directories"):
        unpacked(script, target)
    assert not (target / "e").exists()


def test_a_python_script_is_run_with_the_interpreter_and_a_shell_script_with_the_shell() -> None:
    python, shell = (Script(program=f"train.{end}", source="") for end in ("py", "sh"))
    assert script_command(python, ["/v/python"], ["--a", "1"]) == (
        "/v/python",
        "train.py",
        "--a",
        "1",
    )
    assert script_command(python, [], []) == (sys.executable, "train.py")
    assert script_command(shell, ["/v/python"], ["--a", "1"]) == ("/bin/sh", "train.sh", "--a", "1")


@pytest.mark.parametrize("program", ['"../x.py"', '"/x.py"', '"x"', "3", "null", '"a/../../x.py"'])
def test_a_script_has_a_path_within_its_archive(program: str) -> None:
    source = "file:///a.tar.gz"
    with pytest.raises(TrialFailure, match="ClientError: sagemaker_program is"):
        script_of({"sagemaker_program": program, "sagemaker_submit_directory": source})


async def test_a_script_runs_with_its_hyperparameters_as_arguments(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    archive(bucket / "sourcedir.tar.gz", helper="answer = 42", src__train=TRAIN)
    source = "s3://lab/sourcedir.tar.gz"
    trial = assignment(
        command=[],
        metrics={"loss": "loss=(.*?);"},
        hyper_parameters={
            "sagemaker_program": '"src/train.py"',
            "sagemaker_submit_directory": json.dumps(source),
            "sagemaker_container_log_level": "20",
            "sagemaker_job_name": '"job"',
            "sagemaker_region": '"eu-west-1"',
            "_tuning_objective_metric": "loss",
            "depth": "3",
            "kernel": '"rbf"',
            "c": "0.5",
        },
    )
    async with runner(buckets={"lab": bucket}):
        key = await server.assign(trial)
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED, server.lines(key)
    arguments, environment, python, loss = server.lines(key)
    assert json.loads(arguments.removeprefix("args ")) == [
        *("-c", "0.5", "--depth", "3", "--kernel", "rbf")
    ]
    assert json.loads(environment.removeprefix("env ")) == {
        "SM_HPS": '{"c":0.5,"depth":3,"kernel":"rbf"}',
        "SM_MODULE_DIR": source,
        "SM_MODULE_NAME": "src/train",
        "SM_USER_ENTRY_POINT": "src/train.py",
    }
    assert python == f"python {sys.executable}"
    assert loss == "loss=42;"


async def test_a_script_that_cannot_be_fetched_fails_its_trial(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    trial = assignment(
        command=[],
        hyper_parameters={
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": json.dumps((tmp_path / "x.tar.gz").as_uri()),
        },
    )
    async with runner():
        key = await server.assign(trial)
        ended = await server.ended(key)
    assert ended.failure_reason.startswith("ClientError: cannot read file:///")
    assert pb.TRIAL_STAGE_TRAINING not in server.stages(key)
