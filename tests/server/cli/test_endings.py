"""How commands end whatever they meet: Ctrl-C, servers of another kind, output without room."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

from tests.clients.fake_tuning_service import FakeTuningService, refused, serving_in_thread
from tests.server.cli.cli_events import described_training_job, summary
from tests.server.cli.cli_processes import TUNESMITH, heard_ctrl_c
from tests.server.cli.other_servers import grpc_server, http2_server, silent_server
from tunesmith.aws_json import from_aws
from tunesmith.v1.training_job_operations_pb2 import (
    ListTrainingJobsForHyperParameterTuningJobResponse as TrainingJobs,
)
from tunesmith.v1.tuning_service_pb2 import ListHyperParameterTuningJobsResponse
from tunesmith_server.cli import main


@pytest.fixture
def service() -> FakeTuningService:
    jobs = {"TrainingJobSummaries": [summary(1, "Completed", value=0.9)]}
    return FakeTuningService(
        answers={
            "ListHyperParameterTuningJobs": [ListHyperParameterTuningJobsResponse()],
            "ListTrainingJobsForHyperParameterTuningJob": [from_aws(jobs, TrainingJobs)],
            "DescribeTrainingJob": [described_training_job(1)],
        }
    )


@pytest.fixture
def server(service: FakeTuningService) -> Iterator[str]:
    with serving_in_thread(service) as address:
        yield address


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    request = {"HyperParameterTuningJobName": "digits", "TrainingJobDefinition": {}}
    path.write_text(json.dumps(request))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        heard_ctrl_c(),
        subprocess.Popen(
            [*TUNESMITH, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=15)
    return process.returncode, output, errors


def test_what_is_started_hears_ctrl_c_even_where_that_is_ignored() -> None:
    program = "import signal; print(signal.getsignal(signal.SIGINT).__name__)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with heard_ctrl_c():
            said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert said.stdout == b"default_int_handler\n"


@pytest.mark.parametrize("arguments", [("jobs", "list"), ("jobs", "logs", "digits")])
def test_ctrl_c_while_a_server_is_silent_ends_with_130_and_no_word(
    arguments: tuple[str, ...],
) -> None:
    with (
        silent_server() as (address, listener),
        started(*arguments, "--server", address) as process,
    ):
        connection, _ = listener.accept()
        with connection:
            assert interrupted(process) == (130, b"", b"")


@pytest.mark.parametrize("arguments", [("tune",), ("check-metrics", "--regex", "x")])
def test_ctrl_c_while_input_is_read_ends_with_130_and_no_word(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with started(*arguments, pipe) as process:
        writer = os.open(pipe, os.O_WRONLY)  # waits until the command reads
        try:
            assert interrupted(process) == (130, b"", b"")
        finally:
            os.close(writer)


@pytest.mark.parametrize("imported", ["click", "tunesmith_server.cli.tune", "grpc"])
def test_ctrl_c_while_modules_are_imported_ends_with_130_and_no_traceback(imported: str) -> None:
    program = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {imported!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from tunesmith_server.cli import main\n"
        "main(['jobs', 'list', '--server', '127.0.0.1:9'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.parametrize(
    "serving",
    [grpc_server, *(partial(http2_server, status) for status in (404, 400, 200))],
    ids=["grpc", "404", "400", "200"],
)
@pytest.mark.parametrize(
    "arguments", [("jobs", "list"), ("jobs", "describe", "digits"), ("jobs", "logs", "digits")]
)
def test_what_is_no_tunesmith_server_is_said_to_be_none(
    arguments: tuple[str, ...], serving: Callable[[], AbstractContextManager[str]]
) -> None:
    with serving() as address:
        done = run(*arguments, "--server", address)
    assert done.exit_code == 3, done.output
    first, advice = done.stderr.splitlines()
    assert first.startswith(f"Error: what answers at {address} is no Tunesmith server: ")
    assert "--server HOST:PORT" in advice
    assert "`tunesmith serve --grpc HOST:PORT`" in advice


def test_tune_tells_what_is_no_tunesmith_server(request_file: Path) -> None:
    with grpc_server() as address:
        done = run("tune", request_file, "--server", address)
    assert done.exit_code == 3
    assert f"what answers at {address} is no Tunesmith server" in done.stderr


def test_tune_says_how_to_get_by_another_server_on_the_default_port(
    request_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with grpc_server() as address:
        monkeypatch.setattr(sys.modules["tunesmith_server.cli.tune"], "DEFAULT_SERVER", address)
        done = run("tune", request_file)
    assert done.exit_code == 3
    assert f"what answers at {address} is no Tunesmith server" in done.stderr
    assert "With --embedded" in done.stderr


def test_tune_on_a_server_that_fails_exits_with_1(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    service.answers["CreateHyperParameterTuningJob"] = [
        refused(grpc.StatusCode.INTERNAL, "InternalFailure")
    ]
    done = run("tune", request_file, "--server", server)
    assert done.exit_code == 1
    assert "request id" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [("jobs", "list"), ("jobs", "export", "digits"), ("jobs", "list", "--help")]
)
def test_output_for_which_there_is_no_room_is_an_error_of_one_line(
    server: str, arguments: tuple[str, ...], unbuffered: str
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*TUNESMITH, *arguments, "--server", server],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    said = b"Error: the output can't be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_dry_run_whose_reader_has_gone_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*TUNESMITH, "check-metrics", "--regex", "x"],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_error_that_is_not_of_the_output_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/else")

    monkeypatch.setattr(sys.modules["tunesmith_server.cli.jobs"], "_connect", fail)
    done = run("jobs", "list")
    assert isinstance(done.exception, OSError)
