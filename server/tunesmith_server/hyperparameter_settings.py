"""``[[algorithms.NAME.hyperparameters]]``: what a registered algorithm says of its hyperparameters.

As in SageMaker's algorithm resources (``HyperParameterSpecification``): a type, the values that it
can have, and whether it is tuned. Autotune alone reads it; requests are not held to it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunesmith_core.errors import SpaceError
from tunesmith_core.space.ranges import Categorical, Continuous, Integer, Parameter, Scaling

_Value = Annotated[str, Field(max_length=256)]


class HyperparameterSection(BaseModel):
    """One hyperparameter of a registered algorithm."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00\r\n]+$")]
    type: Literal["Integer", "Continuous", "Categorical", "FreeText"]
    min: float | None = None
    max: float | None = None
    values: Annotated[list[_Value], Field(min_length=1, max_length=30)] | None = None
    scaling: Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"] | None = None
    tunable: bool = True

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Self:
        self.read()
        return self

    def read(self) -> Parameter | None:
        """Give what it is tuned over; None where it is not tuned.

        Raises:
            ValueError: Keys are missing, or make no range.
        """
        match self.type:
            case "Integer" | "Continuous":
                parameter = self._number()
            case "Categorical":
                parameter = self._categorical()
            case "FreeText":
                self._refuse("min", "max", "scaling", "values", "tunable")
                return None
        return parameter if self.tunable else None

    def _number(self) -> Parameter:
        self._refuse("values")
        if self.min is None or self.max is None:
            raise ValueError(f"give min and max, which type {self.type} needs")
        scaling = Scaling(self.scaling or Scaling.AUTO)
        try:
            if self.type == "Continuous":
                return Continuous(name=self.name, lo=self.min, hi=self.max, scaling=scaling)
            if not (self.min.is_integer() and self.max.is_integer()):
                raise ValueError("give whole numbers as min and max of type Integer")
            low, high = int(self.min), int(self.max)
            return Integer(name=self.name, lo=low, hi=high, scaling=scaling)
        except SpaceError as error:
            raise ValueError(f"{error.wrong}; {error.right}") from None

    def _categorical(self) -> Parameter:
        self._refuse("min", "max", "scaling")
        if self.values is None:
            raise ValueError("give values, which type Categorical needs")
        return Categorical(name=self.name, values=tuple(self.values))

    def _refuse(self, *keys: str) -> None:
        if names := [key for key in keys if key in self.model_fields_set]:
            raise ValueError(f"leave out {' and '.join(names)}, which type {self.type} has not")


def repeated_name(sections: list[HyperparameterSection]) -> str | None:
    """Find a hyperparameter that is listed twice."""
    names = [section.name for section in sections]
    return next((name for name in names if names.count(name) > 1), None)
