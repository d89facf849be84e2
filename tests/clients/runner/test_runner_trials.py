"""A trial's life, seen by the server: real processes, real gRPC."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.clients.runner.conftest import Assigner, RunnerStarter
from tests.clients.runner.fake_server import FakeServer
from tunesmith.runner.endings import ProgramExit, algorithm_failure
from tunesmith.v1 import data_source_pb2 as source_pb
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith_server.domain.names import OUTPUT_MARK

STARTING = pb.TRIAL_STAGE_STARTING
DOWNLOADING = pb.TRIAL_STAGE_DOWNLOADING
TRAINING = pb.TRIAL_STAGE_TRAINING
UPLOADING = pb.TRIAL_STAGE_UPLOADING
STOPPING = pb.TRIAL_STAGE_STOPPING

WAIT = "import time\nprint('ready')\ntime.sleep(60)"
IGNORE_TERM = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("grandchild", flush=True)
time.sleep(60)
'''])
print('child', child.pid)
{WAIT}
"""


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; one that waits to be reaped has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_trial_reports_its_stages_lines_and_metrics_in_order(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = """
import sys
for epoch in range(3):
    print(f'epoch {epoch}')
    print(f'loss={1 / (epoch + 1)} acc=nan', file=sys.stderr)
print('done')
"""
    async with runner():
        key = await server.assign(
            assignment(code, metrics={"loss": r"loss=(\S+)", "acc": r"acc=(\w+)"})
        )
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED
    assert ended.exit_code == 0
    assert ended.HasField("training_started_at")
    told = [r.WhichOneof("report") for r in server.reports[key]]
    assert server.stages(key) == [STARTING, TRAINING, UPLOADING]
    assert told[:3] == ["stage", "stage", "output"]
    assert told[-2:] == ["stage", "ended"]
    written: list[str] = []
    for report in server.reports[key]:
        written += report.output.lines
        if report.HasField("metric") and report.metric.metric_name == "loss":
            assert f"loss={report.metric.value!r} acc=nan" in written
    assert server.lines(key)[:2] == ["epoch 0", "loss=1.0 acc=nan"]
    assert server.lines(key)[-1] == "done"
    values = server.metrics(key)
    assert [value for name, value in values if name == "loss"] == [1.0, 0.5, 1 / 3]
    assert all(math.isnan(value) for name, value in values if name == "acc")
    assert [r.sequence for r in server.reports[key]] == list(range(1, len(told) + 1))


async def test_lines_that_come_slowly_leave_without_waiting_for_more(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(assignment(WAIT))
        await server.line(key, "ready")
        await server.stop_trial(key)
        await server.ended(key)


async def test_the_model_is_packed_where_the_request_says(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    code = """
import os, pathlib
pathlib.Path(os.environ['SM_MODEL_DIR'], 'weights').write_text('w')
"""
    async with runner():
        key = await server.assign(assignment(code))
        ended = await server.ended(key)
    archive = tmp_path / "artifacts" / key[0] / "output" / "model.tar.gz"
    assert ended.model_artifacts_uri == archive.as_uri()
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["weights"]
    root = tmp_path / "runner" / "trials" / key[0] / "1"
    assert not (root / "ml" / "model").exists()
    assert (root / "ml" / "input" / "config" / "hyperparameters.json").exists()
    assert (root / "output.log").exists()
    assert not (root / "process.json").exists()


async def test_a_failure_file_becomes_the_reason(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = """
import os, pathlib, sys
pathlib.Path(os.environ['SM_OUTPUT_DIR'], 'failure').write_text('no convergence' + '!' * 2000)
sys.exit(3)
"""
    async with runner():
        ended = await server.ended(await server.assign(assignment(code)))
    assert ended.outcome == pb.TRIAL_OUTCOME_FAILED
    assert ended.failure_reason.startswith("AlgorithmError: no convergence!")
    assert len(ended.failure_reason) == 1024
    assert ended.exit_code == 3
    assert not ended.retryable
    assert ended.model_artifacts_uri == ""


async def test_without_a_failure_file_the_exit_code_is_the_reason(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(assignment("raise SystemExit(7)"))
        ended = await server.ended(key)
    assert ended.failure_reason == "AlgorithmError: Exit Code: 7"
    assert server.stages(key) == [STARTING, TRAINING]


async def test_without_a_failure_file_the_end_of_the_output_says_why(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = "print('epoch 1'); raise ValueError('no column b')"
    async with runner():
        ended = await server.ended(await server.assign(assignment(code)))
    first, message = ended.failure_reason.split("\n", 1)
    assert first == "AlgorithmError: Exit Code: 1"
    assert f"\n{message}".startswith(OUTPUT_MARK)
    assert message.startswith('ErrorMessage "epoch 1\nTraceback')
    assert message.endswith('\nValueError: no column b"')


def test_of_a_long_output_the_last_of_it_is_told() -> None:
    ending = ProgramExit(code=1, by_itself=True, started_at=datetime.now(UTC))
    lines = [*(f"line {number} " + "x" * 200 for number in range(50)), "é" * 10, "", "  "]
    reason = algorithm_failure(ending, "", last_lines=lines).reason
    assert len(reason) == 1024
    assert reason.startswith('AlgorithmError: Exit Code: 1\nErrorMessage "…')
    assert reason.endswith("x\n" + "é" * 10 + '"')
    assert algorithm_failure(ending, "", last_lines=["", " "]).reason == (
        "AlgorithmError: Exit Code: 1"
    )
    assert algorithm_failure(ending, "own words", last_lines=lines).reason == (
        "AlgorithmError: own words"
    )


def test_a_scripts_end_bears_the_toolkits_name() -> None:
    ending = ProgramExit(code=2, by_itself=True, started_at=datetime.now(UTC))
    told = algorithm_failure(ending, "", last_lines=["a", "b"], is_script=True)
    assert told.reason == (
        'AlgorithmError: ExecuteUserScriptError: Exit Code: 2\nErrorMessage "a\nb"'
    )
    assert not told.retryable


async def test_a_death_by_signal_is_named(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    async with runner():
        ended = await server.ended(await server.assign(assignment(code)))
    assert ended.failure_reason == "AlgorithmError: Exit Code: 139 (SIGSEGV)"
    assert not ended.HasField("exit_code")


async def test_an_unknown_program_is_the_clients_error(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(assignment(command=["no-such-program-here"]))
        ended = await server.ended(key)
        assert ended.failure_reason.startswith("ClientError: cannot run 'no-such-program-here'")
        assert not ended.retryable
        assert not ended.HasField("training_started_at")
        assert server.stages(key) == [STARTING]


async def test_more_arguments_than_the_system_carries_are_the_clients_error(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(assignment(command=["echo", "x" * 3_000_000]))
        ended = await server.ended(key)
        assert ended.failure_reason.startswith("ClientError: ")
        assert "too long" in ended.failure_reason
        key = await server.assign(assignment(command=["echo", "a\0b"], lease_token=2))
        ended = await server.ended(key)
        assert ended.failure_reason.startswith("ClientError: the command is empty, or holds a NUL")


async def test_an_end_is_noticed_without_the_kernels_help_too(
    server: FakeServer,
    runner: RunnerStarter,
    assignment: Assigner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid); raise SystemExit(3)"
    async with runner():
        key = await server.assign(assignment(code))
        ended = await server.ended(key)
    assert ended.exit_code == 3
    assert is_gone(int(server.lines(key)[0]))


async def test_a_program_is_found_on_the_path_of_the_trial_and_runs_in_the_code_directory(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "my-train"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\npwd\necho $1 $GREETING\n")
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    async with runner():
        key = await server.assign(
            assignment(command=["my-train", "x"], environment={"PATH": path, "GREETING": "hello"})
        )
        await server.ended(key)
    pwd, greeting = server.lines(key)
    assert pwd == str(tmp_path / "runner" / "trials" / key[0] / "1" / "ml" / "code")
    assert greeting == "x hello"


async def test_a_stop_is_sigterm_first_and_packs_what_was_written(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    code = f"""
import os, pathlib, signal, sys
def leave(*_):
    pathlib.Path(os.environ['SM_MODEL_DIR'], 'checkpoint').touch()
    print('leaving')
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
{WAIT}
"""
    async with runner():
        key = await server.assign(assignment(code))
        await server.line(key, "ready")
        await server.stop_trial(key)
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_STOPPED
    assert server.stages(key) == [STARTING, TRAINING, STOPPING, UPLOADING]
    assert "leaving" in server.lines(key)
    with tarfile.open(tmp_path / "artifacts" / key[0] / "output" / "model.tar.gz") as tar:
        assert tar.getnames() == ["checkpoint"]


async def test_a_stop_reaches_what_ignores_it_and_its_children_after_the_grace(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(assignment(IGNORE_TERM, stop_grace_s=0.3))
        await server.line(key, "ready")
        await server.line(key, "grandchild")
        (line,) = [line for line in server.lines(key) if line.startswith("child")]
        loop = asyncio.get_running_loop()
        began = loop.time()
        await server.stop_trial(key)
        ended = await server.ended(key)
        assert loop.time() - began >= 0.3
    assert ended.outcome == pb.TRIAL_OUTCOME_STOPPED
    assert not ended.HasField("exit_code")
    assert is_gone(int(line.split()[1]))


async def test_children_that_outlive_their_trial_are_killed_with_its_end(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"
    async with runner():
        key = await server.assign(assignment(code))
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED
    assert is_gone(int(server.lines(key)[0]))


async def test_a_process_that_leaves_the_group_does_not_hold_the_end_up(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = """
import subprocess
print(subprocess.Popen(['sleep', '30'], start_new_session=True).pid)
"""
    async with runner():
        key = await server.assign(assignment(code))
        ended = await server.ended(key, limit_s=8)
    assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED
    os.kill(int(server.lines(key)[0]), signal.SIGKILL)


async def test_the_maximum_runtime_stops_a_trial(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(assignment(WAIT, max_runtime_s=0.4))
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_MAX_RUNTIME_EXCEEDED
    assert ended.failure_reason == ""
    assert ended.model_artifacts_uri.endswith("model.tar.gz")
    assert server.stages(key) == [STARTING, TRAINING, STOPPING, UPLOADING]


async def test_a_trial_that_takes_more_disk_than_its_volume_fails_and_is_told_the_limit(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = f"open('big', 'wb').write(b'x' * 3_000_000)\n{WAIT}"
    async with runner():
        key = await server.assign(assignment(code, volume_size_bytes=2**20))
        ended = await server.ended(key)
    assert ended.outcome == pb.TRIAL_OUTCOME_FAILED
    assert ended.failure_reason.startswith("ClientError: the trial's files take 3")
    assert "1048576" in ended.failure_reason
    assert "VolumeSizeInGB" in ended.failure_reason
    assert not ended.retryable


async def test_a_volume_that_the_host_does_not_have_is_the_hosts_fault(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(assignment(WAIT, volume_size_bytes=2**60))
        ended = await server.ended(key)
    assert ended.failure_reason.startswith("InternalServerError: the runner's disk has")
    assert ended.retryable
    assert server.stages(key) == [STARTING]


async def test_channels_are_there_before_the_program_starts(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "part-0").write_text("rows")
    channel = definition_pb.Channel(
        channel_name="train",
        data_source=source_pb.DataSource(
            s3_data_source=source_pb.S3DataSource(
                s3_data_type=source_pb.S3_DATA_TYPE_S3_PREFIX,
                s3_uri=(tmp_path / "set").as_uri(),
            )
        ),
    )
    code = "import os; print(open(os.environ['SM_CHANNEL_TRAIN'] + '/part-0').read())"
    async with runner():
        key = await server.assign(assignment(code, input_data_config=[channel]))
        await server.ended(key)
    assert server.lines(key) == ["rows"]
    assert server.stages(key) == [STARTING, DOWNLOADING, TRAINING, UPLOADING]


async def test_a_missing_channel_fails_the_trial_before_its_program(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    channel = definition_pb.Channel(
        channel_name="train",
        data_source=source_pb.DataSource(
            s3_data_source=source_pb.S3DataSource(
                s3_data_type=source_pb.S3_DATA_TYPE_S3_PREFIX, s3_uri="file:///no/such/set"
            )
        ),
    )
    async with runner():
        key = await server.assign(assignment(WAIT, input_data_config=[channel]))
        ended = await server.ended(key)
    assert ended.failure_reason.startswith("ClientError: cannot read channel data at /no/such/set")
    assert server.stages(key) == [STARTING, DOWNLOADING]


async def test_an_output_path_that_is_not_local_is_refused_before_the_program(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    made = assignment(WAIT)
    made.output_data_config.s3_output_path = "s3://bucket/prefix"
    async with runner():
        key = await server.assign(made)
        ended = await server.ended(key)
    assert ended.failure_reason.startswith("ClientError: S3OutputPath is 's3://bucket/prefix'")
    assert server.stages(key) == [STARTING]


async def test_a_pattern_that_is_not_re2s_is_refused_before_the_program(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        key = await server.assign(assignment(WAIT, metrics={"m": "(?=x)"}))
        ended = await server.ended(key)
    assert ended.failure_reason.startswith("ClientError: MetricDefinitions:")


async def test_a_name_that_is_no_training_jobs_never_becomes_a_path(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner, tmp_path: Path
) -> None:
    async with runner():
        key = await server.assign(assignment(WAIT, name="../../escaped"))
        ended = await server.ended(key)
    assert ended.failure_reason.startswith("ClientError: '../../escaped' is no training job's name")
    assert not (tmp_path / "escaped").exists()


async def test_a_trial_without_gpus_sees_none(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"
    async with runner():
        key = await server.assign(assignment(code, environment={"CUDA_VISIBLE_DEVICES": "0,1,2"}))
        await server.ended(key)
    assert server.lines(key) == ["''"]


async def test_more_gpus_than_the_runner_has_fail_the_trial(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        ended = await server.ended(await server.assign(assignment(WAIT, gpu_count=1)))
    assert "needs 1 GPUs, and runner test runner has 0" in ended.failure_reason
    assert ended.retryable


async def test_a_place_is_free_again_before_the_server_hears_of_the_end(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner(slots=1):
        for number in range(1, 6):
            key = await server.assign(assignment("pass", name=f"job-{number:03}-0123abcd"))
            ended = await server.ended(key)
            assert ended.outcome == pb.TRIAL_OUTCOME_COMPLETED, ended.failure_reason


async def test_trials_run_side_by_side(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    async with runner():
        keys = [await server.assign(assignment(WAIT, name=f"job-{n}")) for n in (1, 2)]
        for key in keys:
            await server.line(key, "ready")
        for key in keys:
            await server.stop_trial(key)
        for key in keys:
            await server.ended(key)


async def test_output_that_is_no_text_arrives_as_lines(
    server: FakeServer, runner: RunnerStarter, assignment: Assigner
) -> None:
    code = r"""
import sys
sys.stdout.buffer.write(b'caf\xe9 \xff\n' + b'10%\r20%\r' + b'y' * 100_000 + b'\nend')
"""
    async with runner():
        key = await server.assign(assignment(code))
        await server.ended(key)
    first, ten, twenty, long, last = server.lines(key)
    assert first == "caf\ufffd \ufffd"
    assert (ten, twenty, last) == ("10%", "20%", "end")
    assert len(long) == 65_536
    assert long.endswith("[line cut by the runner at 65536 characters]")
