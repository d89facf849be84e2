"""Events and descriptions of a small tuning job, as its server would send them."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from tunesmith.aws_json import from_aws
from tunesmith.v1.event_pb2 import WatchHyperParameterTuningJobResponse as Event
from tunesmith.v1.training_job_operations_pb2 import DescribeTrainingJobResponse
from tunesmith.v1.tuning_service_pb2 import DescribeHyperParameterTuningJobResponse

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
JOB = "digits"
METRIC = "accuracy"


#: As a server says it of a program that never emitted its objective; some of it is hostile.
NEVER_FOUND = (
    'The objective metric "accuracy" was never found in the output.\n'
    "Nearest lines:\n  acc: 0.9\n    found 'acc', but not uracy=(.*) after it\n"
    "Last lines:\n  \x1b]0;owned\x07\n  \tbye"
)


def trial(number: int) -> str:
    return f"{JOB}-{number:03d}-0000000{number}"


def at(seconds: float) -> float:
    return (START + timedelta(seconds=seconds)).timestamp()


def described(
    status: str = "InProgress", *, best: int | None = None
) -> DescribeHyperParameterTuningJobResponse:
    wire = {
        "HyperParameterTuningJobName": JOB,
        "HyperParameterTuningJobArn": f"arn:aws:sagemaker:local:0:hyper-parameter-tuning-job/{JOB}",
        "HyperParameterTuningJobStatus": status,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": METRIC},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2},
        },
        "CreationTime": at(0),
        "TrainingJobDefinition": {"ResourceConfig": {"InstanceType": "local.gpu"}},
        "TrainingJobStatusCounters": {"Completed": 2, "NonRetryableError": 1},
        "ObjectiveStatusCounters": {"Succeeded": 2},
        "FailureReason": "No training job succeeded." if status == "Failed" else None,
        "BestTrainingJob": None if best is None else summary(best, "Completed", value=0.9),
        "HyperParameterTuningEndTime": at(75) if status != "InProgress" else None,
    }
    return from_aws(wire, DescribeHyperParameterTuningJobResponse)


def described_training_job(
    number: int,
    *,
    reason: str | None = None,
    no_objective: str | None = None,
    verdict: dict[str, object] | None = None,
) -> DescribeTrainingJobResponse:
    wire = {
        "TrainingJobName": trial(number),
        "TrainingJobStatus": "Failed" if reason else "Completed",
        "HyperParameters": {"lr": "0.1", "epochs": "3", "_tuning_objective_metric": METRIC},
        "ModelArtifacts": {"S3ModelArtifacts": f"file:///m/{trial(number)}/output/model.tar.gz"},
        "CreationTime": at(0),
        "TrainingStartTime": at(1),
        "TrainingEndTime": at(5),
        "TrainingTimeInSeconds": 4,
        "FailureReason": reason,
        "ObjectiveFailureReason": no_objective,
        "StoppingVerdict": verdict,
        "FinalMetricDataList": [{"MetricName": METRIC, "Value": 0.9, "Timestamp": at(4)}],
    }
    return from_aws(wire, DescribeTrainingJobResponse)


def summary(
    number: int,
    status: str,
    *,
    value: float | None = None,
    reason: str | None = None,
    no_objective: str | None = None,
    verdict: dict[str, object] | None = None,
) -> dict[str, object]:
    return {
        "TrainingJobName": trial(number),
        "TrainingJobStatus": status,
        "CreationTime": at(0),
        "TunedHyperParameters": {"lr": "0.123456789", "act": "relu"},
        "TrainingStartTime": at(1),
        "TrainingEndTime": None if status == "InProgress" else at(5),
        "FailureReason": reason,
        "ObjectiveFailureReason": no_objective,
        "StoppingVerdict": verdict,
        "FinalHyperParameterTuningJobObjectiveMetric": None
        if value is None
        else {"MetricName": METRIC, "Value": value},
    }


def event(sequence: int, **members: object) -> Event:
    wire = {"Sequence": sequence, "At": Timestamp(seconds=1).seconds, **members}
    return from_aws(wire, Event)


def training_job_event(
    sequence: int,
    number: int,
    status: str,
    *,
    value: float | None = None,
    reason: str | None = None,
    no_objective: str | None = None,
    secondary: str | None = None,
) -> Event:
    changed = summary(number, status, value=value, reason=reason, no_objective=no_objective)
    return event(sequence, TrainingJob={"Summary": changed, "SecondaryStatus": secondary})


def log_event(sequence: int, number: int, *lines: str) -> Event:
    return event(sequence, Log={"TrainingJobName": trial(number), "Lines": list(lines)})


def metric_event(sequence: int, number: int, name: str, value: float) -> Event:
    metric = {"TrainingJobName": trial(number), "MetricName": name, "Value": value, "Step": 1}
    return event(sequence, Metric=metric)


def status_event(sequence: int, status: str, **members: object) -> Event:
    return event(sequence, TuningJob={"HyperParameterTuningJobStatus": status, **members})


def whole_job(status: str = "Completed") -> list[Event]:
    """A job of two training jobs, the second of which fails."""
    return [
        status_event(1, "InProgress"),
        training_job_event(2, 1, "InProgress"),
        training_job_event(3, 2, "InProgress"),
        log_event(4, 1, "epoch 1", "accuracy=0.9"),
        metric_event(5, 1, METRIC, 0.9),
        log_event(6, 2, "Traceback", "ValueError: bad"),
        training_job_event(7, 1, "Completed", value=0.9),
        training_job_event(8, 2, "Failed", reason="AlgorithmError: Exit Code: 1"),
        status_event(9, status, BestTrainingJob=summary(1, "Completed", value=0.9)),
    ]
