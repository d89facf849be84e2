"""SageMaker's spellings: the domain's states and the contract's enums say the same."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pytest
from google.protobuf.descriptor import EnumDescriptor

from tunesmith.v1 import training_job_pb2, tuning_job_pb2
from tunesmith_server.domain import views
from tunesmith_server.domain.enum_names import sagemaker_name
from tunesmith_server.domain.states import (
    ObjectiveStatus,
    SecondaryStatus,
    TrainingJobStatus,
    TuningJobStatus,
)
from tunesmith_server.domain.tuning_job import Strategy

_TUNING_STATUS = tuning_job_pb2.HyperParameterTuningJobStatus.DESCRIPTOR


@pytest.mark.parametrize(
    ("values", "kind", "enum"),
    [
        (views.TUNING_STATUS_VALUES, TuningJobStatus, _TUNING_STATUS),
        (
            views.TRAINING_STATUS_VALUES,
            TrainingJobStatus,
            training_job_pb2.TrainingJobStatus.DESCRIPTOR,
        ),
        (
            views.SECONDARY_STATUS_VALUES,
            SecondaryStatus,
            training_job_pb2.SecondaryStatus.DESCRIPTOR,
        ),
        (
            views.OBJECTIVE_STATUS_VALUES,
            ObjectiveStatus,
            tuning_job_pb2.ObjectiveStatus.DESCRIPTOR,
        ),
    ],
)
def test_every_state_has_a_value_of_the_same_spelling(
    values: Mapping[StrEnum, int], kind: type[StrEnum], enum: EnumDescriptor
) -> None:
    assert set(values) == set(kind)
    for state, number in values.items():
        assert sagemaker_name(enum, number) == state.value


def test_strategies_are_spelt_as_in_the_contract() -> None:
    enum = tuning_job_pb2.HyperParameterTuningJobStrategyType.DESCRIPTOR
    names = {sagemaker_name(enum, value.number) for value in enum.values}
    assert names - {None} == {strategy.value for strategy in Strategy}


def test_the_unspecified_value_and_unknown_numbers_have_no_name() -> None:
    assert sagemaker_name(_TUNING_STATUS, 0) is None
    assert sagemaker_name(_TUNING_STATUS, 999) is None
    assert sagemaker_name(_TUNING_STATUS, -1) is None
