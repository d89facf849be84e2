"""SageMaker's spelling of the contract's enum values, read from the option beside each."""

from __future__ import annotations

from google.protobuf.descriptor import EnumDescriptor

from tunesmith.v1 import options_pb2


def sagemaker_name(enum: EnumDescriptor, number: int) -> str | None:
    """Give SageMaker's name of a value; None for the unspecified one and for unknown numbers."""
    value = enum.values_by_number.get(number)
    if value is None or number == 0:
        return None
    name = value.GetOptions().Extensions[options_pb2.sagemaker_name]
    return name or None
