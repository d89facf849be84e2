from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.server.domain.job_specs import CREATED_AT, job_spec
from tunesmith_server.domain.names import Account, name_of_arn, training_job_name

ACCOUNT = Account(region="eu-west-1", account_id="123456789012")


@pytest.mark.parametrize(
    ("index", "number"), [(1, "001"), (35, "035"), (999, "999"), (1000, "1000"), (10_000, "10000")]
)
def test_a_training_job_is_named_after_its_tuning_job_and_launch_index(
    index: int, number: str
) -> None:
    name = training_job_name("xgboost-190407-1532", index, CREATED_AT)
    assert re.fullmatch(rf"xgboost-190407-1532-{number}-[0-9a-f]{{8}}", name)


def test_the_longest_tuning_job_name_gives_a_name_that_sagemaker_allows() -> None:
    name = training_job_name("x" * 32, 10_000, CREATED_AT)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)


def test_a_decision_taken_anew_gives_the_same_name() -> None:
    assert training_job_name("a", 1, CREATED_AT) == training_job_name("a", 1, CREATED_AT)
    # Names are in stores and on disks: how they are made must not change.
    assert training_job_name("digits", 1, CREATED_AT) == "digits-001-d1d76abe"


def test_names_differ_by_tuning_job_creation_and_index() -> None:
    names = {
        training_job_name(tuning_job, index, created_at)
        for tuning_job in ("a", "b")
        for index in range(1, 200)
        for created_at in (CREATED_AT, CREATED_AT + timedelta(microseconds=1))
    }
    assert len(names) == 2 * 199 * 2
    suffixes = {name.rpartition("-")[2] for name in names}
    assert len(suffixes) == len(names)


def test_arns_have_sagemakers_form_and_a_lower_cased_name() -> None:
    assert ACCOUNT.tuning_job_arn("V3Blackbelt-2200") == (
        "arn:aws:sagemaker:eu-west-1:123456789012:hyper-parameter-tuning-job/v3blackbelt-2200"
    )
    assert ACCOUNT.training_job_arn("V3Blackbelt-2200-020-240888ce") == (
        "arn:aws:sagemaker:eu-west-1:123456789012:training-job/v3blackbelt-2200-020-240888ce"
    )


def test_a_tuning_jobs_spec_knows_its_name_and_arn() -> None:
    spec = job_spec(name="Digits")
    assert spec.name == "Digits"
    assert spec.arn == "arn:aws:sagemaker:local:000000000000:hyper-parameter-tuning-job/digits"


def test_an_arn_is_read_back_as_it_was_built() -> None:
    assert name_of_arn(ACCOUNT.tuning_job_arn("Digits")) == ("hyper-parameter-tuning-job", "digits")
    assert name_of_arn(ACCOUNT.training_job_arn("d-001-ab")) == ("training-job", "d-001-ab")


def test_a_name_in_an_arn_is_read_in_lower_case() -> None:
    arn = ACCOUNT.training_job_arn("d").replace("/d", "/Digits")
    assert name_of_arn(arn) == ("training-job", "digits")


@pytest.mark.parametrize(
    "text",
    [
        *("", "arn:", "digits", "training-job/digits", "arn:training-job/digits"),
        "arn:aws:sagemaker:local:training-job/digits",
        "arn:aws:sagemaker:local:000000000000:training-job",
        "arn:aws:sagemaker:local:000000000000:training-job/",
        "arn:aws:sagemaker:local:000000000000:/digits",
        "urn:aws:sagemaker:local:000000000000:training-job/digits",
    ],
)
def test_what_is_no_arn_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not an ARN of the form arn:<partition>") as refusal:
        name_of_arn(text)
    assert repr(text) in str(refusal.value)
