"""Runners that do not keep to the contract: a clear error, and no harm to others' trials."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.e2e import jobs
from tests.e2e.calls import COMPLETED, JOB_S, Calls, Refused, refusing
from tests.e2e.conftest import ServerMaker
from tests.e2e.harness import ServerProcess
from tests.e2e.jobs import create_request
from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import runner_service_pb2_grpc, training_job_pb2

pytestmark = pytest.mark.timeout(60)

#: A runner may be silent for three heartbeats; long enough for a machine under load.
_CONFIG = "[runners]\nheartbeat_s = 20\n"


@pytest.fixture
def target(make_server: ServerMaker, tmp_path: Path) -> Iterator[ServerProcess]:
    """Give a server without a runner, and see afterwards that it is unharmed."""
    config = tmp_path / "patient.toml"
    config.write_text(_CONFIG, encoding="utf-8")
    server = make_server(runner=False, config=config).start()
    yield server
    with Calls(server.address) as calls:
        assert calls.is_serving()
    assert "Traceback" not in server.log_text()


@pytest.fixture
def calls(target: ServerProcess) -> Iterator[Calls]:
    with Calls(target.address) as made:
        yield made


class Stream:
    """One connection of a runner that says what a test wants it to."""

    def __init__(self, calls: Calls, *, instance_id: str = "one", slots: int = 1) -> None:
        self._requests: queue.SimpleQueue[pb.ConnectRequest | None] = queue.SimpleQueue()
        stub = runner_service_pb2_grpc.RunnerServiceStub(calls.channel)
        self._responses = stub.Connect(iter(self._requests.get, None), timeout=JOB_S)
        self._hello = pb.RunnerHello(runner_name="test", instance_id=instance_id, slots=slots)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self._responses.cancel()

    def say(self, message: pb.ConnectRequest) -> None:
        self._requests.put(message)

    def hello(self) -> pb.RunnerWelcome:
        self.say(pb.ConnectRequest(hello=self._hello))
        return self.next().welcome

    def leave(self) -> None:
        self._requests.put(None)

    def next(self) -> pb.ConnectResponse:
        return refusing(lambda: next(self._responses))

    def report(self, *reports: pb.TrialReport) -> None:
        self.say(pb.ConnectRequest(reports=pb.TrialReports(reports=reports)))

    def refusal(self) -> Refused:
        """Read on until the server ends the stream with an error."""
        with pytest.raises(Refused) as refused:
            refusing(lambda: list(self._responses))
        return refused.value


def _report(assignment: pb.TrialAssignment | None, sequence: int, **news: object) -> pb.TrialReport:
    return pb.TrialReport(
        training_job_name=assignment.training_job_name if assignment else "no-such-trial",
        lease_token=assignment.lease_token if assignment else 1,
        sequence=sequence,
        at=Timestamp(seconds=1_800_000_000),
        **news,  # type: ignore[arg-type]
    )


def _assert_invalid(refused: Refused, words: str, *, reason: str = "ValidationException") -> None:
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT, refused
    assert refused.reason == reason
    assert words in refused.text


def _one_job(calls: Calls, tmp_path: Path) -> None:
    script = tmp_path / "never-run.py"
    calls.create(create_request("job", script=script, output=tmp_path / "out", jobs=1, parallel=1))


_ENDED = pb.TrialEnded(outcome=pb.TRIAL_OUTCOME_COMPLETED)


def test_a_stream_without_a_hello_is_refused(calls: Calls) -> None:
    with Stream(calls) as stream:
        stream.say(pb.ConnectRequest(heartbeat=pb.RunnerHeartbeat()))
        _assert_invalid(stream.refusal(), "must be its hello")


def test_a_stream_that_says_nothing_and_leaves_is_refused(calls: Calls) -> None:
    with Stream(calls) as stream:
        stream.leave()
        _assert_invalid(stream.refusal(), "must be its hello")


def test_a_stream_that_stays_silent_is_ended(make_server: ServerMaker, tmp_path: Path) -> None:
    config = tmp_path / "impatient.toml"
    config.write_text("[runners]\nheartbeat_s = 0.1\n", encoding="utf-8")
    server = make_server(runner=False, config=config).start()
    with Calls(server.address) as calls:
        with Stream(calls) as stream:
            _assert_invalid(stream.refusal(), "No hello came for 0.3 s")
        with Stream(calls) as stream:
            stream.hello()
            _assert_invalid(stream.refusal(), "No message came for 0.3 s")
    assert "Traceback" not in server.log_text()


def test_a_second_hello_is_refused(calls: Calls) -> None:
    with Stream(calls) as stream:
        stream.hello()
        stream.say(
            pb.ConnectRequest(hello=pb.RunnerHello(runner_name="x", instance_id="x", slots=1))
        )
        _assert_invalid(stream.refusal(), "says hello once")


@pytest.mark.parametrize(
    ("hello", "member"),
    [
        (pb.RunnerHello(runner_name="x", instance_id="x"), "slots"),
        (pb.RunnerHello(instance_id="x", slots=1), "runnerName"),
        (pb.RunnerHello(runner_name="x" * 10_000, instance_id="x", slots=1), "runnerName"),
        (pb.RunnerHello(runner_name="x", instance_id="x", slots=-5), "slots"),
    ],
    ids=["no slots", "no name", "long name", "negative slots"],
)
def test_a_hello_that_breaks_the_contract_is_refused_by_member(
    calls: Calls, hello: pb.RunnerHello, member: str
) -> None:
    with Stream(calls) as stream:
        stream.say(pb.ConnectRequest(hello=hello))
        refused = stream.refusal()
        _assert_invalid(refused, "failed to satisfy constraint")
        assert [field.split(".")[-1] for field in refused.fields] == [member]


def test_reports_of_a_trial_that_somebody_else_holds_are_dropped_and_acknowledged(
    calls: Calls, tmp_path: Path
) -> None:
    _one_job(calls, tmp_path)
    with Stream(calls, instance_id="holder") as holder, Stream(calls, instance_id="thief") as thief:
        holder.hello()
        assignment = holder.next().assignment
        thief.hello()
        thief.report(_report(assignment, 1, ended=_ENDED))
        assert thief.next().acknowledged.positions[0].sequence == 1
        summary = calls.training_job(assignment.training_job_name)
        assert summary.secondary_status == training_job_pb2.SECONDARY_STATUS_STARTING

        holder.report(_report(assignment, 1, ended=_ENDED))
        assert holder.next().acknowledged.positions[0].sequence == 1
    calls.watch_to_end("job")
    assert calls.describe("job").hyper_parameter_tuning_job_status == COMPLETED


def test_reports_of_an_unknown_trial_or_an_old_lease_are_dropped_and_acknowledged(
    calls: Calls, tmp_path: Path
) -> None:
    _one_job(calls, tmp_path)
    with Stream(calls) as stream:
        stream.hello()
        assignment = stream.next().assignment
        old = _report(assignment, 7, ended=_ENDED)
        old.lease_token += 1
        stream.report(_report(None, 3, ended=_ENDED), old)
        assert {p.sequence for p in stream.next().acknowledged.positions} == {3, 7}
        assert calls.describe("job").training_job_status_counters.in_progress == 1


def test_a_gap_in_the_sequence_ends_the_stream_and_says_what_to_send(
    calls: Calls, tmp_path: Path
) -> None:
    _one_job(calls, tmp_path)
    with Stream(calls) as stream:
        stream.hello()
        assignment = stream.next().assignment
        stream.report(_report(assignment, 2, stage=pb.TRIAL_STAGE_TRAINING))
        refused = stream.refusal()
    assert refused.code is grpc.StatusCode.OUT_OF_RANGE
    assert refused.reason == "ValidationException"
    assert "send 1 next" in refused.text


def test_a_repeated_report_is_counted_once(calls: Calls, tmp_path: Path) -> None:
    _one_job(calls, tmp_path)
    with Stream(calls) as stream:
        stream.hello()
        assignment = stream.next().assignment
        metric = _report(assignment, 2, metric=pb.MetricValue(metric_name="objective", value=2.5))
        first = _report(assignment, 1, stage=pb.TRIAL_STAGE_TRAINING)
        stream.report(first, metric)
        stream.report(first, metric, metric)
        stream.report(_report(assignment, 3, ended=_ENDED))
        for _ in range(3):
            assert stream.next().HasField("acknowledged")
    events = [event for event in calls.watch_to_end("job") if event.HasField("metric")]
    assert [(event.metric.step, event.metric.value) for event in events] == [(1, 2.5)]


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        ([_report(None, n + 1, ended=_ENDED) for n in range(1001)], "1000"),
        ([], "failed to satisfy constraint"),
        ([_report(None, 1)], "failed to satisfy constraint"),
        ([_report(None, 0, ended=_ENDED)], "failed to satisfy constraint"),
        ([_report(None, 1, stage=99)], "failed to satisfy constraint"),
        ([_report(None, 1, ended=pb.TrialEnded(failure_reason="x" * 1025))], "1024"),
        ([_report(None, 1, output=pb.OutputLines(lines=["x"] * 1001))], "1000"),
    ],
    ids=["too many", "none", "no news", "sequence 0", "no such stage", "long reason", "many lines"],
)
def test_reports_that_break_the_contract_are_refused(
    calls: Calls, reports: list[pb.TrialReport], words: str
) -> None:
    with Stream(calls) as stream:
        stream.hello()
        stream.report(*reports)
        _assert_invalid(stream.refusal(), words)


def test_a_report_of_five_megabytes_is_refused(calls: Calls) -> None:
    with Stream(calls) as stream:
        stream.hello()
        stream.report(_report(None, 1, output=pb.OutputLines(lines=["x" * 5_000_000])))
        _assert_invalid(
            stream.refusal(), "must be at most 4194304", reason="SerializationException"
        )


def test_a_time_that_no_calendar_has_is_refused(calls: Calls) -> None:
    report = _report(None, 1, ended=_ENDED)
    report.at.seconds = 2**60
    with Stream(calls) as stream:
        stream.hello()
        stream.report(report)
        _assert_invalid(stream.refusal(), "at")


def test_a_stage_that_is_over_is_taken_in_and_changes_nothing(calls: Calls, tmp_path: Path) -> None:
    _one_job(calls, tmp_path)
    with Stream(calls) as stream:
        stream.hello()
        assignment = stream.next().assignment
        stages = (pb.TRIAL_STAGE_TRAINING, pb.TRIAL_STAGE_DOWNLOADING, pb.TRIAL_STAGE_STARTING)
        stream.report(*(_report(assignment, n, stage=stage) for n, stage in enumerate(stages, 1)))
        assert stream.next().acknowledged.positions[0].sequence == 3
        described = calls.training_job(assignment.training_job_name)
    assert described.secondary_status == training_job_pb2.SECONDARY_STATUS_TRAINING


def test_the_same_instance_connecting_again_ends_the_first_connection_and_keeps_its_trials(
    calls: Calls, tmp_path: Path
) -> None:
    _one_job(calls, tmp_path)
    with Stream(calls) as first, Stream(calls) as second:
        first.hello()
        assignment = first.next().assignment
        second.hello()
        refused = first.refusal()
        again = second.next().assignment
        assert again == assignment
        second.report(_report(again, 1, ended=_ENDED))
        second.next()
    assert refused.code is grpc.StatusCode.ABORTED
    assert refused.reason == "ConflictException"
    calls.watch_to_end("job")


def test_a_draining_runner_gets_nothing_more(calls: Calls, tmp_path: Path) -> None:
    with Stream(calls, instance_id="leaving") as leaving:
        leaving.hello()
        leaving.say(pb.ConnectRequest(draining=pb.RunnerDraining()))
        leaving.say(pb.ConnectRequest(heartbeat=pb.RunnerHeartbeat()))
        assert leaving.next().HasField("heartbeat")
        _one_job(calls, tmp_path)
        with Stream(calls, instance_id="other") as other:
            other.hello()
            assert other.next().HasField("assignment")
        leaving.say(pb.ConnectRequest(heartbeat=pb.RunnerHeartbeat()))
        assert leaving.next().HasField("heartbeat")


def test_a_runner_that_was_replaced_loses_its_trials_at_once(calls: Calls, tmp_path: Path) -> None:
    _one_job(calls, tmp_path)
    with Stream(calls, instance_id="dead") as dead:
        dead.hello()
        assignment = dead.next().assignment
        hello = pb.RunnerHello(
            runner_name="heir", instance_id="heir", slots=1, replaced_instance_ids=["dead"]
        )
        with Stream(calls, instance_id="heir") as heir:
            heir.say(pb.ConnectRequest(hello=hello))
            heir.next()
    calls.watch_to_end("job")
    described = calls.training_job(assignment.training_job_name)
    assert described.failure_reason == "InternalServerError: the runner heir was restarted"
    assert jobs.PYTHON[0] == assignment.command[0]
