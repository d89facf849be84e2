"""The command line as its user has it: real processes, real servers, real training jobs."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Process, ServerProcess, kill_all, processes_of
from tests.server.cli.cli_processes import TUNESMITH, heard_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
QUADRATIC = (
    "import json, os; x = json.loads(os.environ['SM_HPS'])['x']; "
    "open(os.environ['SM_MODEL_DIR'] + '/m', 'w').write('m'); print(f'loss={(x - 0.5) ** 2}')"
)
FAILING = "import sys; print('reading data'); sys.exit('ValueError: no data')"
ENDLESS = "import time; print('loss=1', flush=True); time.sleep(3600)"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "cli-data"
    yield folder
    kill_all(processes_of(folder))


@pytest.fixture(autouse=True)
def _own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def write_request(tmp_path: Path) -> Callable[..., Path]:
    """Write a request file; what it runs, and for how many training jobs, is for each test."""

    def write(program: str, *, training_jobs: int = 4) -> Path:
        request = {
            "HyperParameterTuningJobName": "cli",
            "HyperParameterTuningJobConfig": {
                "Strategy": "Random",
                "RandomSeed": 1,
                "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
                "ResourceLimits": {
                    "MaxNumberOfTrainingJobs": training_jobs,
                    "MaxParallelTrainingJobs": 2,
                },
                "ParameterRanges": {
                    "ContinuousParameterRanges": [{"Name": "x", "MinValue": "-2", "MaxValue": "2"}]
                },
            },
            "TrainingJobDefinition": {
                "AlgorithmSpecification": {
                    "TrainingInputMode": "File",
                    "ContainerEntrypoint": [sys.executable, "-I", "-S", "-c", program],
                    "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.e+-]+)"}],
                },
                "RoleArn": "arn:aws:iam::000000000000:role/local",
                "OutputDataConfig": {"S3OutputPath": f"file://{tmp_path}/models"},
                "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            },
        }
        path = tmp_path / "job.json"
        path.write_text(json.dumps(request))
        return path

    return write


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TUNESMITH, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=50
    )


def test_tune_runs_a_job_on_a_server_of_its_own_and_shows_the_best(
    write_request: Callable[..., Path], data_dir: Path, tmp_path: Path
) -> None:
    done = run("tune", write_request(QUADRATIC), "--embedded", "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    assert "Tuning job cli: Completed" in done.stdout
    assert re.search(r"^  x +-?[0-9.]+$", done.stdout, re.MULTILINE)
    artifact = re.search(r"^Model artifact: file://(\S+)$", done.stdout, re.MULTILINE)
    assert artifact is not None
    assert Path(artifact[1]).is_file()
    assert artifact[1].startswith(f"{tmp_path}/models/cli-")
    assert len(re.findall(r"^\[[1-4]/4\]  cli-00[1-4]-", done.stderr, re.MULTILINE)) == 4
    assert processes_of(data_dir) == []


def test_tune_of_a_job_whose_training_jobs_all_fail_says_why(
    write_request: Callable[..., Path], data_dir: Path
) -> None:
    done = run("tune", write_request(FAILING), "--embedded", "--data-dir", data_dir)
    assert done.returncode == 1, done.stderr
    assert "Tuning job cli: Failed" in done.stdout
    assert "FailureReason: " in done.stderr
    assert "AlgorithmError" in done.stderr
    assert "    | ValueError: no data" in done.stderr


def test_what_an_embedded_server_stored_is_there_for_the_next_one(
    write_request: Callable[..., Path], data_dir: Path
) -> None:
    request = write_request(QUADRATIC, training_jobs=1)
    first = run("tune", request, "--embedded", "--data-dir", data_dir)
    again = run("tune", request, "--embedded", "--data-dir", data_dir)
    other = run("tune", request, "--embedded", "--data-dir", data_dir, "--name", "other")
    assert (first.returncode, again.returncode, other.returncode) == (0, 2, 0), again.stderr
    assert "--name NAME" in again.stderr
    kept = f"kept in {data_dir}; `tunesmith serve --data-dir {data_dir}` shows it"
    assert first.stderr.splitlines()[-1] == kept


def test_the_example_that_needs_nothing_runs(data_dir: Path, tmp_path: Path) -> None:
    example = (ROOT / "examples" / "inline" / "job.yaml").read_text()
    request = tmp_path / "job.yaml"
    request.write_text(example.replace("file:///tmp/tunesmith-inline", f"file://{tmp_path}/models"))
    done = run("tune", request, "--embedded", "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    assert "training jobs: 8 completed" in done.stdout


def test_the_demo_runs_with_the_configuration_beside_its_request(
    data_dir: Path, tmp_path: Path
) -> None:
    example = ROOT / "examples" / "digits"
    request: dict[str, Any] = json.loads((example / "job.json").read_text())
    limits = request["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert limits == {"MaxNumberOfTrainingJobs": 24, "MaxParallelTrainingJobs": 2}
    limits["MaxNumberOfTrainingJobs"] = 2
    definition = request["TrainingJobDefinition"]
    definition["StaticHyperParameters"]["epochs"] = "2"
    definition["OutputDataConfig"]["S3OutputPath"] = f"file://{tmp_path}/models"
    here = tmp_path / "digits"
    here.mkdir()
    (here / "job.json").write_text(json.dumps(request))
    for name in ("tunesmith.toml", "train.py"):
        (here / name).write_text((example / name).read_text())
    done = run("tune", here / "job.json", "--embedded", "--data-dir", data_dir)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  validation:accuracy=0\.\d+, the best of 2$", done.stdout, re.MULTILINE)
    assert re.search(r"^  train:loss +\d", done.stdout, re.MULTILINE)


def test_jobs_are_run_and_read_on_a_server_that_stays(
    server: ServerProcess, write_request: Callable[..., Path]
) -> None:
    where = ("--server", server.address)
    detached = run("tune", write_request(QUADRATIC), *where, "--detach")
    assert detached.returncode == 0, detached.stderr
    assert detached.stdout.endswith(":hyper-parameter-tuning-job/cli\n")
    watched = run("jobs", "watch", "cli", *where)
    assert watched.returncode == 0, watched.stderr
    assert "Best training job: cli-00" in watched.stdout

    listed = json.loads(run("jobs", "list", *where, "--json").stdout)
    (summary,) = listed["HyperParameterTuningJobSummaries"]
    assert summary["HyperParameterTuningJobStatus"] == "Completed"
    trials = json.loads(run("jobs", "trials", "cli", *where, "--json").stdout)
    names = [trial["TrainingJobName"] for trial in trials["TrainingJobSummaries"]]
    assert len(names) == 4
    assert re.fullmatch(r"(loss=[0-9.e+-]+\n)", run("jobs", "logs", names[0], *where).stdout)
    exported = run("jobs", "export", "cli", *where).stdout.splitlines()
    assert len(exported) == 5
    assert exported[0].endswith(",hyperparameter.x,metric.loss")
    described = run("jobs", "describe", names[0], *where, "--json").stdout
    assert json.loads(described)["TrainingJobStatus"] == "Completed"
    assert run("jobs", "delete", "cli", *where).returncode == 0


def test_jobs_stop_ends_a_job_and_its_watcher(
    server: ServerProcess, write_request: Callable[..., Path], make_process: Callable[..., Process]
) -> None:
    where = ("--server", server.address)
    assert run("tune", write_request(ENDLESS), *where, "--detach").returncode == 0
    watcher = make_process("jobs", "watch", "cli", *where, "--json", name="watch")
    watcher.spawn()
    assert json.loads(watcher.first_line())["Sequence"] >= 1
    assert run("jobs", "stop", "cli", *where).returncode == 0
    assert watcher.wait() == 1
    described = run("jobs", "describe", "cli", *where, "--json").stdout
    assert json.loads(described)["HyperParameterTuningJobStatus"] == "Stopped"


def test_ctrl_c_stops_the_job_on_an_embedded_server(
    write_request: Callable[..., Path], data_dir: Path
) -> None:
    arguments = ["tune", str(write_request(ENDLESS)), "--embedded", "--data-dir", str(data_dir)]
    with terminal(arguments) as (process, read_until):
        read_until(b"(value 1)")  # a training job has emitted its first value
        process.send_signal(signal.SIGINT)
        text = read_until(None)
        assert process.wait(30) == 130
    assert "Ctrl-C again leaves at once" in text
    assert "may take up to 120 s" in text
    assert "Tuning job cli: Stopped" in text
    assert processes_of(data_dir) == []


def test_an_embedded_server_says_which_unfinished_jobs_go_on(
    write_request: Callable[..., Path], data_dir: Path
) -> None:
    where = ("--embedded", "--data-dir", str(data_dir))
    with terminal(["tune", str(write_request(ENDLESS)), *where]) as (process, read_until):
        read_until(b"(value 1)")
        process.kill()
        for other in processes_of(data_dir):
            other.wait(30)
    again = run("tune", write_request(ENDLESS), *where)
    assert again.returncode == 2
    assert "1 unfinished job goes on: cli\n" in again.stderr
    assert "it is InProgress" in again.stderr
    assert f"After `tunesmith serve --data-dir {data_dir}`: `tunesmith jobs watch cli`" in (
        again.stderr
    )


def test_a_data_directory_that_cannot_be_used_is_refused_with_the_option_that_names_another(
    write_request: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = run(
        "tune", write_request(QUADRATIC), "--embedded", "--data-dir", tmp_path / "file" / "x"
    )
    assert done.returncode == 2
    assert "name another one with --data-dir DIR" in done.stderr


def test_an_embedded_server_is_for_this_host_alone_whatever_the_configuration_says(
    write_request: Callable[..., Path], data_dir: Path
) -> None:
    config = data_dir.with_name("open.toml")
    config.write_text('[server]\nhttp = "192.0.2.1:7071"\n')
    request = write_request(QUADRATIC, training_jobs=1)
    done = run("tune", request, "--embedded", "--data-dir", data_dir, "--config", config)
    assert done.returncode == 0, done.stderr


def test_an_embedded_server_does_not_outlive_its_command(
    write_request: Callable[..., Path], data_dir: Path
) -> None:
    config = data_dir.with_name("quick.toml")
    config.write_text("[runners]\nstop_grace_s = 1\n")
    arguments = ["tune", str(write_request(ENDLESS)), "--embedded", "--data-dir", str(data_dir)]
    with terminal([*arguments, "--config", str(config)]) as (process, read_until):
        read_until(b"(value 1)")
        left = [found for found in processes_of(data_dir) if found.pid != process.pid]
        assert left
        process.kill()
        for other in left:
            other.wait(20)
    assert processes_of(data_dir) == []


def test_serve_says_when_it_is_ready_and_ends_cleanly_when_told(server: ServerProcess) -> None:
    assert re.fullmatch(r"127\.0\.0\.1:\d+", server.address)
    assert server.terminate() == 0


def test_serve_refuses_a_data_directory_that_is_in_use(
    server: ServerProcess, write_request: Callable[..., Path]
) -> None:
    second = run("serve", "--grpc", "127.0.0.1:0", "--data-dir", server.data_dir)
    assert (second.returncode, second.stdout) == (2, "")
    assert "another server" in second.stderr.splitlines()[-1]
    tuned = run("tune", write_request(QUADRATIC), "--embedded", "--data-dir", str(server.data_dir))
    assert tuned.returncode == 2
    assert "another server" in tuned.stderr


def test_serve_refuses_an_address_that_is_in_use(server: ServerProcess, data_dir: Path) -> None:
    second = run("serve", "--grpc", server.address, "--data-dir", data_dir)
    assert (second.returncode, second.stdout) == (2, "")
    assert "in use" in second.stderr.splitlines()[-1]


def test_a_runner_of_its_own_serves_a_server_without_one(
    make_server: Callable[..., ServerProcess],
    make_process: Callable[..., Process],
    write_request: Callable[..., Path],
    data_dir: Path,
) -> None:
    server = make_server("alone", runner=False).start()
    runner = make_process(
        *("runner", "--server", server.address, "--data-dir", str(data_dir)),
        *("--slots", "2", "--gpus", "none", "--label", "zone=a"),
        name="runner",
    )
    runner.spawn()
    done = run("tune", write_request(QUADRATIC), "--server", server.address)
    assert done.returncode == 0, done.stderr
    assert runner.terminate() == 0


class terminal:  # noqa: N801 - used as a function, in a with statement
    """Run a command of ``tunesmith`` on a terminal of its own."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._seen = b""

    def __enter__(self) -> tuple[subprocess.Popen[bytes], Callable[[bytes | None], str]]:
        ours, theirs = pty.openpty()
        with heard_ctrl_c():
            self._process = subprocess.Popen(
                [*TUNESMITH, *self._arguments],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "40"},
            )
        os.close(theirs)
        self._ours = ours
        return self._process, self._read_until

    def __exit__(self, *_: object) -> None:
        os.close(self._ours)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _read_until(self, wanted: bytes | None) -> str:
        """Read what the command shows until it has shown something, or has closed its end."""
        while wanted is None or wanted not in self._seen:
            ready, _, _ = select.select([self._ours], [], [], 30)
            assert ready, self._seen[-2000:].decode(errors="replace")
            try:
                self._seen += os.read(self._ours, 65536)
            except OSError:  # nobody has the other end any more
                assert wanted is None, self._seen[-2000:].decode(errors="replace")
                break
        return self._seen.decode(errors="replace")
