"""Create requests as large as the model allows, of everything that this release serves.

Where a member's value has to mean something here, or several members share a limit, a table says
what it is and why. What is left out is so by the server's own tables, or by the one here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.conformance.members import Structure, Value
from tests.conformance.request_values import TEXTS
from tunesmith_server.domain.validation.unserved import RULED_OUT, SERVED, UNSERVED, singular_form

_CONFIG: Final = "HyperParameterTuningJobConfig"
_SINGULAR: Final = "TrainingJobDefinition"
_PLURAL: Final = "TrainingJobDefinitions[]"

#: Members that are not in the largest request of one definition, by template, with the reason.
NOT_IN_SINGULAR: Final[Mapping[str, str]] = {
    "TrainingJobDefinitions": "one of the two forms is asked for",
    "WarmStartConfig": "its parents have to be there first: asked for in a test of its own",
    f"{_CONFIG}.ParameterRanges.AutoParameters": "become ranges, and are not echoed",
    f"{_SINGULAR}.AlgorithmSpecification.TrainingImage": "excludes AlgorithmName",
    f"{_SINGULAR}.HyperParameterTuningResourceConfig": "excludes ResourceConfig",
    f"{_SINGULAR}.ResourceConfig.InstancePlacementConfig": "all that it can say is not served",
    f"{_SINGULAR}.InputDataConfig[].DataSource.S3DataSource.ModelAccessConfig": "the same",
}
#: The same for the largest request of several definitions.
NOT_IN_PLURAL: Final[Mapping[str, str]] = {
    "TrainingJobDefinition": "one of the two forms is asked for",
    "WarmStartConfig": "is for one definition alone",
    "Autotune": "is for one definition alone",
    f"{_CONFIG}.HyperParameterTuningJobObjective": "each definition has its own",
    f"{_CONFIG}.ParameterRanges": "each definition has its own",
    f"{_CONFIG}.StrategyConfig": "is Hyperband's, which the other request asks for",
    f"{_PLURAL}.HyperParameterRanges.AutoParameters": "become ranges, and are not echoed",
    f"{_PLURAL}.AlgorithmSpecification.AlgorithmName": "excludes TrainingImage",
    f"{_PLURAL}.ResourceConfig": "excludes HyperParameterTuningResourceConfig",
    f"{_PLURAL}.InputDataConfig[].DataSource.S3DataSource.ModelAccessConfig": (
        "all that it can say is not served"
    ),
}

#: How many elements a list or map has where several share a limit.
_SIZES: Final[Mapping[str, int]] = {
    "IntegerParameterRanges": 10,  # 30 ranges in all
    "ContinuousParameterRanges": 10,
    "CategoricalParameterRanges": 10,
    "StaticHyperParameters": 69,  # 100 hyperparameters in all, one of them the objective's name
}
_SIZES_OF_MANY: Final[Mapping[str, int]] = {
    **_SIZES,
    "Environment": 4,  # 48 in all definitions
}

#: Values that mean something, by the end of a template.
_VALUES: Final[Mapping[str, Any]] = {
    f"{_CONFIG}.Strategy": "Hyperband",
    "HyperbandStrategyConfig.MinResource": 1,
    "HyperbandStrategyConfig.MaxResource": 20_000,
    "ResourceLimits.MaxNumberOfTrainingJobs": 10_000,  # what the site allows by default
    "ResourceLimits.MaxParallelTrainingJobs": 1_000,
    "HyperParameterTuningJobObjective.MetricName": "a" * 251 + "Met0",  # the first definition
    "TuningObjective.MetricName": "a" * 251 + "Met0",
    "HyperParameterTuningJobObjective.Type": "Minimize",
    "TuningObjective.Type": "Minimize",
    "TrainingJobEarlyStoppingType": "Off",  # Hyperband and several definitions allow no other
    "IntegerParameterRanges[].MinValue": "-2147483648",
    "IntegerParameterRanges[].MaxValue": "2147483647",
    "IntegerParameterRanges[].ScalingType": "Linear",
    "ContinuousParameterRanges[].MinValue": "0." + "2" * 254,
    "ContinuousParameterRanges[].MaxValue": "0." + "7" * 254,
    "ContinuousParameterRanges[].ScalingType": "ReverseLogarithmic",
    "AlgorithmSpecification.AlgorithmName": "quadratic",
    "AlgorithmSpecification.TrainingImage": "registry.example.com/quadratic:1",
    "AlgorithmSpecification.TrainingInputMode": "File",
    "S3DataSource.S3DataType": "S3Prefix",
    "S3DataSource.S3DataDistributionType": "FullyReplicated",
    "InputDataConfig[].CompressionType": "None",
    "InputDataConfig[].RecordWrapperType": "None",
    "InputDataConfig[].InputMode": "File",
    # A key is for what goes to a bucket.
    "OutputDataConfig.S3OutputPath": "s3://lab/" + "a" * 1015,
    "InstanceType": "ml.m5.large",
    "InstanceCount": 1,
    "KeepAlivePeriodInSeconds": 0,
    "StoppingCondition.MaxRuntimeInSeconds": 28 * 86_400,
    "MaximumRetryAttempts": 30,
}
_URI: Final = "file:///tmp/"


def largest(structure: Structure, *, plural: bool) -> dict[str, Any]:
    """Make the largest create request of either form."""
    return _Largest(plural=plural).structure(structure, "", "")


class _Largest:
    def __init__(self, *, plural: bool) -> None:
        self._left_out = NOT_IN_PLURAL if plural else NOT_IN_SINGULAR
        self._sizes = _SIZES_OF_MANY if plural else _SIZES
        values = dict(_VALUES)
        if plural:
            values[f"{_CONFIG}.Strategy"] = "Bayesian"
        self._values = values

    def structure(self, structure: Structure, path: str, mark: str) -> dict[str, Any]:
        made = {}
        for member in structure.members:
            where = f"{path}.{member.name}" if path else member.name
            if not self._is_left_out(where):
                made[member.name] = self.value(member.value, where, mark)
        return made

    def value(self, value: Value, path: str, mark: str) -> Any:
        for end, given in self._values.items():
            if path == end or path.endswith(f".{end}"):
                return given
        make: dict[str, Callable[[], Any]] = {
            "structure": lambda: self.structure(_inner(value), path, mark),
            "list": lambda: self._list(value, path),
            "map": lambda: self._map(value, path),
            "string": lambda: _text(value, mark),
            "enum": lambda: value.words[-1],
            "bool": lambda: True,
            "float": lambda: 0.25,
        }
        if value.kind in make:
            return make[value.kind]()
        return value.maximum or 2**31 - 1

    def _list(self, value: Value, path: str) -> list[Any]:
        element = value.element
        assert element is not None
        marks = self._marks(value, path)
        return [self.value(element, f"{path}[]", mark) for mark in marks]

    def _map(self, value: Value, path: str) -> dict[str, Any]:
        key, element = value.key, value.element
        assert key is not None
        assert element is not None
        marks = self._marks(value, path)
        return {_text(key, mark): self.value(element, f"{path}[]", "") for mark in marks}

    def _marks(self, value: Value, path: str) -> list[str]:
        """Give what tells the elements apart, and their lists' elements from those of others."""
        name = path.rpartition(".")[2]
        size = self._sizes.get(name, value.maximum or 1)
        return [f"{name[:3]}{number}" for number in range(size)]

    def _is_left_out(self, path: str) -> bool:
        if path in self._left_out:
            return True
        served = path in SERVED or singular_form(path) in SERVED
        if served or path in RULED_OUT:
            return path in RULED_OUT
        known = UNSERVED.get(path) or UNSERVED.get(singular_form(path))
        # Members that are refused but for one value have that value.
        has_value = any(path.endswith(end) for end in self._values) or path.endswith("S3Uri")
        return known is not None and not has_value


def _inner(value: Value) -> Structure:
    assert value.structure is not None
    return value.structure


def _text(value: Value, mark: str) -> str:
    """Make a text as long as it may be, its end telling it from others of its list."""
    begin = _URI if value.shape == "S3Uri" else TEXTS.get(value.shape, "")
    length = value.maximum or 256
    return begin + "a" * (length - len(begin) - len(mark)) + mark
