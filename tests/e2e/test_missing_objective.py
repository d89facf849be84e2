"""Training jobs that end without their objective: what a user is told, by a real server and runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import jobs
from tests.e2e.calls import COMPLETED, FAILED, Calls
from tests.e2e.conftest import ServerMaker
from tests.e2e.jobs import create_request, write_script
from tunesmith.v1 import search_space_pb2 as space_pb
from tunesmith.v1 import tuning_job_pb2 as job_pb

pytestmark = pytest.mark.timeout(120)

#: The objective's regular expression is ``objective=(.*?);``.
MISPRINTED = """
print("loss=0.25;")
print("objective: 0.5")
print("bye")
"""
EACH_ITS_WAY = (
    jobs.BEGIN
    + """
way = parameters["way"]
if way == "fails":
    print("objective=1.0;")
    sys.exit("broken")
print("objective=nan;" if way == "nan" else "")
"""
)


def test_an_objective_that_is_never_found_is_said_with_the_nearest_and_the_last_lines(
    make_server: ServerMaker, tmp_path: Path
) -> None:
    server = make_server().start()
    script = write_script(tmp_path, MISPRINTED)
    with Calls(server.address) as calls:
        calls.create(create_request("never", script=script, output=tmp_path / "out", jobs=2))
        events = calls.watch_to_end("never")
        described = calls.describe("never")
    assert described.hyper_parameter_tuning_job_status == COMPLETED
    assert described.objective_status_counters.failed == 2
    assert not described.HasField("best_training_job")
    told = (
        'The objective metric "objective" was never found in the output.\n'
        "Nearest lines:\n"
        "  objective: 0.5\n"
        "    found 'objective', but not =(.*?); after it\n"
        "Last lines:\n"
        "  loss=0.25;\n"
        "  objective: 0.5\n"
        "  bye"
    )
    assert told in {event.training_job.summary.objective_failure_reason for event in events}
    server.kill()
    server.start()
    with Calls(server.address) as calls:
        for summary in calls.training_jobs("never"):
            assert summary.objective_status == job_pb.OBJECTIVE_STATUS_FAILED
            assert summary.objective_failure_reason == told
            one = calls.training_job(summary.training_job_name)
            assert one.objective_failure_reason == told


def test_each_way_to_end_without_an_objective_has_its_sentence(
    calls: Calls, tmp_path: Path
) -> None:
    script = write_script(tmp_path, EACH_ITS_WAY)
    ranges = space_pb.ParameterRanges(
        categorical_parameter_ranges=[jobs.categorical("way", "nan", "silent", "fails")]
    )
    request = create_request(
        *("ways",),
        script=script,
        output=tmp_path / "out",
        jobs=None,
        strategy=jobs.GRID,
        ranges=ranges,
    )
    calls.create(request)
    calls.watch_to_end("ways")
    # Two have completed: no success in the objective's sense is needed for that.
    assert calls.describe("ways").hyper_parameter_tuning_job_status in (COMPLETED, FAILED)
    told = {
        summary.tuned_hyper_parameters["way"]: summary.objective_failure_reason
        for summary in calls.training_jobs("ways")
    }
    assert told == {
        "nan": 'The last value of the objective metric "objective" is nan, by which training jobs '
        "cannot be ranked.",
        "silent": 'The objective metric "objective" was never found in the output.\n'
        "Last lines:\n  ",
        "fails": 'The training job failed: the value 1.0 of the objective metric "objective" that '
        "it had emitted does not count.",
    }
