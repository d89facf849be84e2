"""The commands against a scripted service: what they print where, and how they exit."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from google.rpc import error_details_pb2

from tests.clients.fake_tuning_service import FakeTuningService, refused, serving_in_thread
from tests.server.cli.cli_events import (
    described,
    described_training_job,
    log_event,
    status_event,
    summary,
    trial,
    whole_job,
)
from tunesmith import InvalidRequest
from tunesmith.aws_json import from_aws
from tunesmith.v1 import event_pb2
from tunesmith.v1.training_job_operations_pb2 import (
    ListTrainingJobsForHyperParameterTuningJobResponse as TrainingJobs,
)
from tunesmith.v1.tuning_service_pb2 import (
    CreateHyperParameterTuningJobResponse,
    ListHyperParameterTuningJobsResponse,
)
from tunesmith_server.cli import main
from tunesmith_server.cli.request_check import read_create, refuse_misfits
from tunesmith_server.domain.site import Site

CREATE = "CreateHyperParameterTuningJob"
DESCRIBE = "DescribeHyperParameterTuningJob"
TRAINING_JOBS = "ListTrainingJobsForHyperParameterTuningJob"
NOWHERE = "127.0.0.1:9"
ARN = "arn:aws:sagemaker:local:0:hyper-parameter-tuning-job/digits"


@pytest.fixture
def service() -> FakeTuningService:
    jobs = {
        "TrainingJobSummaries": [
            summary(1, "Completed", value=0.9),
            summary(2, "Failed", reason="AlgorithmError: Exit Code: 1"),
        ]
    }
    return FakeTuningService(
        answers={
            CREATE: [CreateHyperParameterTuningJobResponse(hyper_parameter_tuning_job_arn=ARN)],
            DESCRIBE: [described("Completed", best=1)],
            TRAINING_JOBS: [from_aws(jobs, TrainingJobs)],
            "DescribeTrainingJob": [described_training_job(1)],
        },
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


def run(*arguments: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=text)


def test_the_commands_are_those_that_are_promised() -> None:
    assert set(main.commands) == {"serve", "runner", "tune", "jobs", "replay", "check-metrics"}
    jobs = main.commands["jobs"]
    assert isinstance(jobs, click.Group)
    assert set(jobs.commands) == {
        "list",
        "describe",
        "watch",
        "stop",
        "delete",
        "trials",
        "logs",
        "export",
    }


def test_tune_shows_progress_on_standard_error_and_the_best_on_standard_output(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    service.streams = [whole_job()]
    done = run("tune", request_file, "--server", server)
    assert done.exit_code == 0, done.output
    assert f"Best training job: {trial(1)}" in done.stdout
    assert "Model artifact: file:///m/" in done.stdout
    assert f"[1/4]  {trial(1)}" in done.stderr
    assert "[1/4]" not in done.stdout


def test_tune_of_a_job_that_fails_exits_with_1_and_its_reasons(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    service.streams = [whole_job("Failed"), [log_event(6, 2, "Traceback", "ValueError: bad")]]
    service.answers[DESCRIBE] = [described(), described("Failed")]
    done = run("tune", request_file, "--server", server)
    assert done.exit_code == 1
    assert "FailureReason: No training job succeeded." in done.stderr
    assert f"{trial(2)}: AlgorithmError: Exit Code: 1" in done.stderr
    assert "    | ValueError: bad" in done.stderr


def test_tune_can_print_the_wire_form(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    service.streams = [whole_job()]
    done = run("tune", request_file, "--server", server, "--json")
    assert json.loads(done.stdout)["BestTrainingJob"]["TrainingJobName"] == trial(1)


def test_tune_detached_prints_the_arn_and_leaves(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    done = run("tune", request_file, "--server", server, "--detach", "--name", "other")
    assert (done.exit_code, done.stdout) == (0, f"{ARN}\n")
    assert service.calls[0].request.hyper_parameter_tuning_job_name == "other"


def test_tune_refuses_a_misspelt_request_with_all_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("HyperParameterTuningJobNam: a\nTags: 1\n")
    done = run("tune", path, "--server", NOWHERE)
    assert done.exit_code == 2
    assert "did you mean 'HyperParameterTuningJobName'" in done.stderr
    assert "'Tags' is a whole number; expected a list" in done.stderr


def test_tune_shows_every_violation_that_the_server_finds(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation
    violations = [violation(field=f"f{n}", description=f"wrong {n}") for n in range(2)]
    violations.append(violation(description="3 more violations are not shown."))
    service.answers[CREATE] = [
        refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "ValidationException",
            error_details_pb2.BadRequest(field_violations=violations),
        )
    ]
    done = run("tune", request_file, "--server", server)
    assert done.exit_code == 2
    assert "refused for 5 reasons:\n  - f0: wrong 0\n  - f1: wrong 1\n  and 3 more" in done.stderr
    assert service.calls[-1].metadata["tunesmith-error-bytes"] == "262144"


def test_tune_with_a_taken_name_says_how_to_give_another(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    service.answers[CREATE] = [refused(grpc.StatusCode.ALREADY_EXISTS, "ResourceInUse")]
    done = run("tune", request_file, "--server", server)
    assert done.exit_code == 2
    assert "digits already; it is Completed" in done.stderr
    assert "--name NAME" in done.stderr


def test_tune_with_the_name_of_a_job_in_progress_says_how_to_see_and_stop_it(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    service.answers[CREATE] = [refused(grpc.StatusCode.ALREADY_EXISTS, "ResourceInUse")]
    service.answers[DESCRIBE] = [described()]
    said = run("tune", request_file, "--server", server).stderr
    assert "it is InProgress" in said
    assert "`tunesmith jobs watch digits`" in said
    assert "`tunesmith jobs stop digits`" in said


def test_tune_of_a_job_whose_trials_nobody_would_run_says_so(server: str, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"HyperParameterTuningJobName": "digits"}))
    done = run("tune", path, "--server", server)
    assert done.exit_code == 2
    assert "has no TrainingJobDefinition: nothing says what its trials run" in done.stderr


def test_tune_says_at_once_what_the_codec_and_what_the_rules_find(
    service: FakeTuningService, server: str, tmp_path: Path
) -> None:
    config = {
        "Strategy": "Random",
        "ResourceLimits": {"MaxNumberOfTrainingJobs": "3", "MaxParallelTrainingJobs": 1},
    }
    path = tmp_path / "job.json"
    path.write_text(
        json.dumps({"HyperParameterTuningJobName": "-a", "HyperParameterTuningJobConfig": config})
    )
    said = run("tune", path, "--server", server).stderr
    count = "  - HyperParameterTuningJobConfig.ResourceLimits.MaxNumberOfTrainingJobs: "
    assert said.count(count) == 1
    assert "expected a whole number, without quotes" in said
    assert "  - HyperParameterTuningJobName: " in said
    assert "  - HyperParameterTuningJobConfig.HyperParameterTuningJobObjective: " in said
    assert service.calls == []


def test_what_depends_on_the_site_is_left_out_where_that_is_not_known() -> None:
    definition = {
        "AlgorithmSpecification": {"TrainingInputMode": "File", "AlgorithmName": "mine"},
        "ResourceConfig": {"InstanceType": "nothing.like", "InstanceCount": "1"},
    }
    reading = read_create({"TrainingJobDefinition": definition})

    def said(site: Site | None) -> str:
        with pytest.raises(InvalidRequest) as refusal:
            refuse_misfits(reading, site=site)
        return str([violation.path for violation in refusal.value.violations])

    resources = "TrainingJobDefinition.ResourceConfig"
    assert f"{resources}.InstanceType" in said(Site())
    assert "AlgorithmName" in said(Site())
    assert f"{resources}.InstanceType" not in said(None)
    assert "AlgorithmName" not in said(None)
    assert f"{resources}.InstanceCount" in said(None)


def test_a_request_that_is_too_long_is_refused_by_its_largest_member(
    service: FakeTuningService, server: str, tmp_path: Path
) -> None:
    path = tmp_path / "job.json"
    environment = {"SMALL": "x", "HUGE": "y" * 5 * 2**20}
    path.write_text(json.dumps({"TrainingJobDefinition": {"Environment": environment}}))
    done = run("tune", path, "--server", server)
    assert done.exit_code == 2
    assert "the request is 5.0 MiB long; a server takes at most 4.0 MiB" in done.stderr
    assert "largest member is TrainingJobDefinition.Environment.HUGE, with 5.0 MiB" in done.stderr
    assert service.calls == []


def test_a_job_that_completed_without_a_best_is_no_success(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    service.streams = [[status_event(1, "Completed")]]
    service.answers[DESCRIBE] = [described("Completed")]
    done = run("tune", request_file, "--server", server)
    assert done.exit_code == 1
    assert "No training job gave the objective 'accuracy': 2 completed" in done.stderr
    assert "tunesmith check-metrics" in done.stderr


def test_tune_asks_for_no_output(
    service: FakeTuningService, server: str, request_file: Path
) -> None:
    service.streams = [whole_job()]
    run("tune", request_file, "--server", server)
    (watch,) = [call.request for call in service.calls if call.operation == "Watch"]
    assert len(watch.event_kinds) == 3
    assert event_pb2.WATCH_EVENT_KIND_LOG not in watch.event_kinds


@pytest.mark.parametrize(
    ("because", "is_told"),
    [("Register it in tunesmith.toml", True), ("MaxNumberOfTrainingJobs is missing", False)],
)
def test_tune_says_that_another_server_has_another_configuration_where_that_matters(
    service: FakeTuningService, server: str, request_file: Path, because: str, *, is_told: bool
) -> None:
    (request_file.parent / "tunesmith.toml").write_text("")
    violation = error_details_pb2.BadRequest.FieldViolation(field="f", description=because)
    service.answers[CREATE] = [
        refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "ValidationException",
            error_details_pb2.BadRequest(field_violations=[violation]),
        )
    ]
    done = run("tune", request_file, "--server", server)
    assert done.exit_code == 2
    assert ("tunesmith serve --config" in done.stderr) == is_told


@pytest.mark.parametrize("option", ["--embedded", "--data-dir=/tmp"])
def test_tune_with_a_server_takes_no_options_of_an_embedded_one(
    request_file: Path, option: str
) -> None:
    assert run("tune", request_file, "--server", NOWHERE, option).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "list"),
        ("jobs", "describe", "digits"),
        ("jobs", "watch", "digits"),
        ("jobs", "logs", trial(1)),
        ("jobs", "export", "digits"),
    ],
)
def test_without_a_server_commands_exit_with_3(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--server", NOWHERE)
    assert done.exit_code == 3
    assert f"no Tunesmith server answers at {NOWHERE}" in done.stderr
    assert "tunesmith serve" in done.stderr


@pytest.mark.parametrize(
    ("value", "example"),
    [
        ("", "127.0.0.1:7070"),
        ("127.0.0.1", "127.0.0.1:7070"),
        ("::1", "[::1]:7070"),
        ("host:70700", "127.0.0.1:7070"),
        ("http://host:1", "127.0.0.1:7070"),
    ],
)
def test_a_server_that_is_no_address_is_refused_with_one_that_is(value: str, example: str) -> None:
    done = run("jobs", "list", "--server", value)
    assert done.exit_code == 2
    assert f"is not HOST:PORT; write for example {example}" in done.stderr


def test_a_server_that_says_it_is_unavailable_was_reached(
    service: FakeTuningService, server: str
) -> None:
    service.answers[DESCRIBE] = [refused(grpc.StatusCode.UNAVAILABLE, "InternalFailure")]
    done = run("jobs", "describe", "digits", "--server", server)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: because of InternalFailure")


def test_a_job_that_is_not_there_exits_with_2(service: FakeTuningService, server: str) -> None:
    service.answers[DESCRIBE] = [refused(grpc.StatusCode.NOT_FOUND, "ResourceNotFound")]
    done = run("jobs", "describe", "digits", "--server", server)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: there is no job called digits; `tunesmith jobs list`")


def test_jobs_list_is_a_table_or_the_wire_form(service: FakeTuningService, server: str) -> None:
    wire = {
        "HyperParameterTuningJobName": "digits",
        "HyperParameterTuningJobStatus": "InProgress",
        "Strategy": "Random",
        "CreationTime": 1_800_000_000.0,
        "TrainingJobStatusCounters": {"InProgress": 2, "Completed": 5},
    }
    page = {"HyperParameterTuningJobSummaries": [wire]}
    service.answers["ListHyperParameterTuningJobs"] = [
        from_aws(page, ListHyperParameterTuningJobsResponse)
    ]
    table = run("jobs", "list", "--server", server, "--status", "inprogress").stdout.splitlines()
    assert "IN PROGRESS" in table[0]
    assert table[1].split() == ["digits", "InProgress", "2027-01-15T08:00:00Z", "2", "5", "0", "0"]
    shown = json.loads(run("jobs", "list", "--server", server, "--json").stdout)
    assert shown["HyperParameterTuningJobSummaries"][0]["HyperParameterTuningJobName"] == "digits"


def test_jobs_list_refuses_a_status_that_is_none(server: str) -> None:
    done = run("jobs", "list", "--server", server, "--status", "Running")
    assert done.exit_code == 2
    assert "[Completed, InProgress, Failed" in done.stderr


def test_jobs_describe_tells_tuning_jobs_and_training_jobs_apart(
    service: FakeTuningService, server: str
) -> None:
    tuning_job = json.loads(run("jobs", "describe", "digits", "--server", server, "--json").stdout)
    assert tuning_job["HyperParameterTuningJobName"] == "digits"
    training_job = run("jobs", "describe", trial(1), "--server", server).stdout
    assert f"TrainingJobName: {trial(1)}" in training_job
    assert "  S3ModelArtifacts: file:///m/" in training_job
    assert "CreationTime: 2026-11-24T09:00:00Z" in training_job
    assert "FinalMetricDataList:\n  [0]:\n    MetricName: accuracy\n" in training_job
    service.answers["DescribeTrainingJob"] = [
        refused(grpc.StatusCode.NOT_FOUND, "ValidationException")
    ]
    odd = run("jobs", "describe", trial(1), "--server", server, "--json").stdout
    assert json.loads(odd)["HyperParameterTuningJobName"] == "digits"


def test_jobs_watch_streams_events_as_lines_of_json(
    service: FakeTuningService, server: str
) -> None:
    service.streams = [whole_job()]
    done = run("jobs", "watch", "digits", "--server", server, "--json")
    assert done.exit_code == 0
    assert [json.loads(line)["Sequence"] for line in done.stdout.splitlines()] == list(range(1, 10))


def test_jobs_watch_of_a_failing_job_exits_with_1(service: FakeTuningService, server: str) -> None:
    service.streams = [whole_job("Failed"), []]
    service.answers[DESCRIBE] = [described(), described("Failed")]
    assert run("jobs", "watch", "digits", "--server", server).exit_code == 1


def test_jobs_trials_lists_training_jobs(server: str) -> None:
    lines = run("jobs", "trials", "digits", "--server", server).stdout.splitlines()
    assert lines[1].split() == [
        trial(1),
        "Completed",
        "accuracy=0.9",
        "4.0",
        "s",
        "act=relu",
        "lr=0.123457",
    ]
    shown = json.loads(run("jobs", "trials", "digits", "--server", server, "--json").stdout)
    assert [job["TrainingJobStatus"] for job in shown["TrainingJobSummaries"]] == [
        "Completed",
        "Failed",
    ]


def test_jobs_logs_of_a_tuning_job_name_the_training_job_in_each_line(
    service: FakeTuningService, server: str
) -> None:
    service.streams = [whole_job()]
    assert run("jobs", "logs", "digits", "--server", server).stdout.splitlines() == [
        f"{trial(1)}  epoch 1",
        f"{trial(1)}  accuracy=0.9",
        f"{trial(2)}  Traceback",
        f"{trial(2)}  ValueError: bad",
    ]


def test_jobs_logs_of_a_training_job_are_its_output_and_end_with_it(
    service: FakeTuningService, server: str
) -> None:
    service.streams = [[*whole_job()[:-2], TimeoutError()]]
    logs = run("jobs", "logs", trial(1), "--server", server).stdout
    assert logs == "epoch 1\naccuracy=0.9\n"
    request = service.calls[-1].request
    assert request.hyper_parameter_tuning_job_name == "digits"
    assert request.training_job_name == trial(1)
    assert event_pb2.WATCH_EVENT_KIND_METRIC not in request.event_kinds


@pytest.mark.parametrize(("name", "sequences"), [("digits", [4, 6]), (trial(1), [4])])
def test_jobs_logs_can_be_the_wire_form_of_the_events(
    service: FakeTuningService, server: str, name: str, sequences: list[int]
) -> None:
    service.streams = [whole_job()]
    lines = run("jobs", "logs", name, "--server", server, "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["Sequence"] for event in events] == sequences
    assert events[0]["Log"] == {"TrainingJobName": trial(1), "Lines": ["epoch 1", "accuracy=0.9"]}


def test_logs_whose_reader_has_seen_enough_end_quietly(
    service: FakeTuningService, server: str
) -> None:
    lines = [log_event(number, 1, "x" * 1000) for number in range(1, 1000)]
    service.streams = [[*lines, TimeoutError()]]
    command = [sys.executable, "-m", "tunesmith_server.cli", "jobs", "logs", "digits"]
    with subprocess.Popen(
        [*command, "--server", server], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 141


def test_jobs_export_is_csv_of_hyperparameters_metrics_and_times(
    service: FakeTuningService, server: str
) -> None:
    service.answers["DescribeTrainingJob"] = [
        described_training_job(1),
        described_training_job(2, reason='says "no", twice\nand more'),
    ]
    exported = run("jobs", "export", "digits", "--server", server).stdout
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert list(rows[0]) == [
        "TrainingJobName",
        "TrainingJobStatus",
        "CreationTime",
        "TrainingStartTime",
        "TrainingEndTime",
        "TrainingTimeInSeconds",
        "FailureReason",
        "ObjectiveFailureReason",
        "hyperparameter.act",
        "hyperparameter.lr",
        "metric.accuracy",
    ]
    assert rows[0]["hyperparameter.lr"] == "0.123456789"
    assert rows[0]["metric.accuracy"] == "0.9"
    assert rows[1]["FailureReason"] == r'says "no", twice\nand more'


def test_jobs_export_is_utf_8_whatever_the_terminals_encoding(
    service: FakeTuningService, server: str
) -> None:
    service.answers["DescribeTrainingJob"] = [described_training_job(1, reason="größer")]
    done = subprocess.run(
        [sys.executable, "-m", "tunesmith_server.cli", "jobs", "export", "d", "--server", server],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert "größer" in done.stdout.decode("utf-8")


def test_jobs_export_can_be_the_wire_form(server: str) -> None:
    shown = json.loads(run("jobs", "export", "digits", "--server", server, "--json").stdout)
    assert [job["TrainingJobName"] for job in shown] == [trial(1), trial(1)]


def test_check_metrics_shows_matches_and_the_value_that_would_count() -> None:
    done = run("check-metrics", "--regex", "acc=([0-9.]+)", text="a\nacc=0.5\nacc=0.75\nacc: 1\n")
    assert done.exit_code == 0
    assert "line 2: 0.5  in  acc=0.5" in done.stdout
    assert "Last value, which would be the objective: 0.75" in done.stdout
    assert "line 4: acc: 1" in done.stdout


def test_check_metrics_without_a_match_exits_with_1_and_shows_what_came_near(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.write_text("epoch 1 val_acc: 0.5\nacc=high\n")
    done = run("check-metrics", "--regex", "acc=(.*)", log)
    assert done.exit_code == 1
    assert "captures 'high', which is no number" in done.stdout
    assert "not found  =(.*)" in done.stdout


def test_check_metrics_refuses_what_re2_does_not_take() -> None:
    done = run("check-metrics", "--regex", "(a)(?=b)", text="")
    assert done.exit_code == 2
    assert "--regex: the regular expression of the metric is not one that RE2 takes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "--http", "0.0.0.0:7071"), "access key"),
        (("serve", "--http", ":7071"), "write a host before :7071"),
        (("serve", "--grpc", "0.0.0.0:7070"), "loopback"),
        (("serve", "--grpc", "nonsense"), "HOST:PORT"),
        (("serve", "--config", "/nonexistent/t.toml"), "No such file"),
        (("serve", "--data-dir", ""), "the name of the directory is empty"),
        (("runner", "--server", "h:1", "--data-dir", ""), "the name of the directory is empty"),
        (("tune", "/nonexistent", "--data-dir", ""), "the name of the directory is empty"),
        (("runner",), "--server HOST:PORT"),
        (("runner", "--server", "nonsense"), "HOST:PORT"),
        (("runner", "--server", "h:1", "--label", "x"), "not K=V"),
        (("runner", "--server", "h:1", "--s3", ""), "'' is not NAME[,K=V]..."),
        (("runner", "--server", "h:1", "--s3", "*,region"), "'region' is not NAME[,K=V]..."),
        (("runner", "--server", "h:1", "--s3", "*,regions=x"), "'regions' is neither endpoint_url"),
        (("runner", "--server", "h:1", "--s3", "*,region="), "region is wrong; write a name"),
        (("runner", "--server", "h:1", "--s3", "*,endpoint_url=h:1"), "is wrong; write http://"),
    ],
)
def test_what_cannot_start_says_why_in_one_line_and_exits_with_2(
    arguments: tuple[str, ...], said: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr.splitlines()[-1]


def test_help_is_quick_because_it_imports_next_to_nothing() -> None:
    program = (
        "import sys\nfrom tunesmith_server.cli import main\n"
        "try: main(['tune', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'grpc', 'google.protobuf', 'rich', 'pydantic', 'yaml', 'uvloop', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
