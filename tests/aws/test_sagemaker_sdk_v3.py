"""The SageMaker Python SDK v3, unmodified: a ``ModelTrainer`` and a tuner of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.aws.clients import ROLE, facts
from tests.aws.conftest import BUCKET, ENDLESS_IMAGE, QUADRATIC_IMAGE, ClientSite
from tests.project.repository import ROOT
from tests.s3 import content_of

pytestmark = [pytest.mark.aws, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def tuner(site: ClientSite) -> Any:
    # It asks IAM what a role may do unless this says otherwise.
    environment = {**site.environment, "SAGEMAKER_VALIDATE_ROLE": "false"}
    return facts(
        "sdk-v3",
        "sdk_v3_tuner.py",
        environment,
        "sdk-three",
        ROLE,
        QUADRATIC_IMAGE,
        ENDLESS_IMAGE,
        BUCKET,
    )


def test_tune_waits_for_the_end_and_finds_the_best_training_job(
    tuner: Any, site: ClientSite
) -> None:
    assert tuner["status"] == "Completed"
    assert tuner["completed"] == 4
    values = {row["TrainingJobName"]: (row["x"] - 0.3) ** 2 for row in tuner["rows"]}
    assert tuner["best"] == min(values, key=lambda name: values[name])
    assert tuner["value"] == pytest.approx(values[tuner["best"]], abs=1e-6)
    assert (site.bucket / "models" / tuner["best"] / "output" / "model.tar.gz").is_file()


def test_all_training_jobs_are_listed(tuner: Any) -> None:
    assert len(tuner["listed"]) == 4
    assert sorted(tuner["listed"]) == sorted(row["TrainingJobName"] for row in tuner["rows"])


def test_a_tuner_starts_warm(tuner: Any) -> None:
    assert tuner["warm"] == "Completed"
    assert tuner["parents"] == ["sdk-three"]


def test_stop_tuning_job_stops_it(tuner: Any) -> None:
    assert tuner["stopped"] == "Stopped"


def test_a_script_is_uploaded_and_run(site: ClientSite, s3: Any) -> None:
    tuned = facts(
        "sdk-v3",
        "sdk_v3_script.py",
        {**site.s3_environment, "SAGEMAKER_VALIDATE_ROLE": "false"},
        "sdk-script",
        ROLE,
        "registry.example.com/of-a-framework:1",
        "sdk-v3-lab",
        str(ROOT / "examples" / "sagemaker" / "source"),
    )
    assert tuned["status"] == "Completed"
    assert tuned["tuned"]["activation"] in ("relu", "tanh")
    assert 0.2 < tuned["value"] <= 1
    key = f"{tuned['best']}/output/model.tar.gz"
    prefix = tuned["output"].removeprefix("s3://sdk-v3-lab").strip("/")
    assert content_of(s3, "sdk-v3-lab", f"{prefix}/{key}".strip("/"))
