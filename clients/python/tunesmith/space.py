"""Describe a search space in Python: a range for each parameter, by name.

    space = {"lr": tunesmith.log_uniform(1e-5, 1e-1), "depth": tunesmith.integers(2, 12)}

Ranges are checked where they are made, so an error points at the line that is wrong. Importing
this loads nothing numerical. Not for SageMaker's ParameterRanges; see ``parameter_ranges.py``.
"""

from __future__ import annotations

import abc
import numbers
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tunesmith_core.errors import SpaceError
from tunesmith_core.space.ranges import (
    Categorical,
    Configuration,
    Continuous,
    Integer,
    Parameter,
    ParameterValue,
    Scaling,
    SearchSpace,
)

_KINDS: Final = (
    "give tunesmith.uniform(lo, hi), log_uniform(lo, hi), reverse_log_uniform(lo, hi), "
    "integers(lo, hi), log_integers(lo, hi) or choice([...])"
)
#: What people give who hold a whole request: its ranges lie further inside.
_ABOVE_THE_RANGES: Final = frozenset({"HyperParameterTuningJobConfig", "ParameterRanges"})
_HELPERS: Final = {
    (False, Scaling.AUTO): "uniform",
    (False, Scaling.LOGARITHMIC): "log_uniform",
    (False, Scaling.REVERSE_LOGARITHMIC): "reverse_log_uniform",
    (True, Scaling.AUTO): "integers",
    (True, Scaling.LOGARITHMIC): "log_integers",
}


def uniform(lo: float, hi: float) -> Range:
    """Let a parameter be any real number from ``lo`` to ``hi``, both included.

    The scaling is SageMaker's Auto, as for a range without a ScalingType: even to begin with, and
    bent by what the optimiser learns. Where small and large orders of magnitude matter alike,
    ``log_uniform`` spares it the learning.

    Example:
        >>> import tunesmith
        >>> tunesmith.uniform(0, 1)
        uniform(0.0, 1.0)

    Raises:
        SpaceError: The bounds are no numbers, not finite, or in the wrong order.
    """
    return _reals(lo, hi, Scaling.AUTO)


def log_uniform(lo: float, hi: float) -> Range:
    """Let a parameter be any real number from ``lo`` to ``hi``, each order of magnitude alike.

    SageMaker's scaling Logarithmic; for learning rates and regularisation.

    Example:
        >>> import tunesmith
        >>> tunesmith.log_uniform(1e-5, 0.1)
        log_uniform(1e-05, 0.1)

    Raises:
        SpaceError: As for ``uniform``, or ``lo`` is not above 0.
    """
    return _reals(lo, hi, Scaling.LOGARITHMIC)


def reverse_log_uniform(lo: float, hi: float) -> Range:
    """Let a parameter be any real number from ``lo`` to ``hi``, finer the closer to 1.

    SageMaker's scaling ReverseLogarithmic; for momenta and discounts such as 0.9, 0.99, 0.999.

    Example:
        >>> import tunesmith
        >>> tunesmith.reverse_log_uniform(0.9, 0.9999)
        reverse_log_uniform(0.9, 0.9999)

    Raises:
        SpaceError: As for ``uniform``, or the range is not within 0 <= x < 1.
    """
    return _reals(lo, hi, Scaling.REVERSE_LOGARITHMIC)


def integers(lo: int, hi: int) -> Range:
    """Let a parameter be any whole number from ``lo`` to ``hi``, both included.

    The scaling is SageMaker's Auto, as for ``uniform``.

    Example:
        >>> import tunesmith
        >>> tunesmith.integers(2, 12)
        integers(2, 12)

    Raises:
        SpaceError: The bounds are not whole, beyond 64 bits, or in the wrong order.
    """
    return _whole_numbers(lo, hi, Scaling.AUTO)


def log_integers(lo: int, hi: int) -> Range:
    """Let a parameter be any whole number from ``lo`` to ``hi``, each order of magnitude alike.

    SageMaker's scaling Logarithmic; for widths, batch sizes and numbers of trees.

    Example:
        >>> import tunesmith
        >>> tunesmith.log_integers(16, 4096)
        log_integers(16, 4096)

    Raises:
        SpaceError: As for ``integers``, or ``lo`` is not above 0.
    """
    return _whole_numbers(lo, hi, Scaling.LOGARITHMIC)


def choice(values: Iterable[object]) -> Range:
    """Let a parameter be one of a few values, which have no order among them.

    Args:
        values: At least one, of any types; they come back as the same objects. Equal values of
            one type collapse onto the first.

    Example:
        >>> import tunesmith
        >>> tunesmith.choice(["relu", "tanh", None])
        choice(['relu', 'tanh', None])

    Raises:
        SpaceError: There is no value, or the values have no lasting order, as those of a set.
    """
    if isinstance(values, str | bytes):
        raise SpaceError(None, f"choice({values!r})", f"give a list: choice([{values!r}])")
    if isinstance(values, set | frozenset):
        wrong = "choice of a set, whose order changes from process to process"
        raise SpaceError(None, wrong, "give a list, so that a seed always means the same")
    if not isinstance(values, Iterable):
        raise SpaceError(None, f"choice({values!r})", f"give a list: choice([{values!r}])")
    distinct: list[object] = []
    for value in values:
        if not any(_same(value, known) for known in distinct):
            distinct.append(value)
    return _checked(ChoiceRange(tuple(distinct)))


class Range(abc.ABC):
    """Say what one parameter may be. Make one with ``uniform``, ``integers``, ``choice``, …."""

    __slots__ = ()

    @abc.abstractmethod
    def named(self, name: str) -> Parameter:
        """Give the core's parameter of this range.

        Raises:
            SpaceError: The range breaks a rule.
        """


@dataclass(frozen=True, slots=True, repr=False)
class NumericRange(Range):
    """Hold a range of numbers.

    Attributes:
        lo: Smallest value, included.
        hi: Largest value, included.
        whole: Whether only whole numbers are meant.
        scaling: How distances are measured.
    """

    lo: float
    hi: float
    whole: bool
    scaling: Scaling

    def __repr__(self) -> str:
        return f"{_HELPERS[self.whole, self.scaling]}({self.lo!r}, {self.hi!r})"

    def named(self, name: str) -> Parameter:
        """Give the core's parameter of this range."""
        if self.whole:
            return Integer(name=name, lo=int(self.lo), hi=int(self.hi), scaling=self.scaling)
        return Continuous(name=name, lo=self.lo, hi=self.hi, scaling=self.scaling)


@dataclass(frozen=True, slots=True, repr=False)
class ChoiceRange(Range):
    """Hold a few values, whatever they are; the core knows each by a text.

    Attributes:
        values: Distinct, in the order in which they were given.
    """

    values: tuple[object, ...]

    def __repr__(self) -> str:
        return f"choice({list(self.values)!r})"

    @property
    def texts(self) -> tuple[str, ...]:
        """Give the text for each value: itself if all are texts, otherwise its index."""
        texts = [value for value in self.values if type(value) is str]
        if len(texts) == len(self.values):
            return tuple(texts)
        return tuple(str(index) for index in range(len(self.values)))

    def named(self, name: str) -> Parameter:
        """Give the core's parameter of this range."""
        return Categorical(name=name, values=self.texts)

    def index_of(self, value: object) -> int | None:
        """Find a value, first among those of its own type; ``None``: it is none of them."""
        for same in (_same, _equal):
            for index, known in enumerate(self.values):
                if same(value, known):
                    return index
        return None


Space: TypeAlias = Mapping[str, Range] | Mapping[str, Sequence[Mapping[str, Any]]] | SearchSpace
"""What a search space may be given as: ranges by name, SageMaker's ParameterRanges, the core's."""


@dataclass(frozen=True, slots=True)
class ReadSpace:
    """Translate between configurations as users have them and the core's.

    Attributes:
        core: The core's search space.
        choices: The values of each parameter that the core knows as categorical, by its name.
    """

    core: SearchSpace
    choices: Mapping[str, ChoiceRange]

    def to_user(self, configuration: Configuration) -> dict[str, Any]:
        """Give a configuration of the core with the values that the user gave."""
        parameters: dict[str, Any] = dict(configuration)
        for name, each in self.choices.items():
            parameters[name] = each.values[each.texts.index(str(configuration[name]))]
        return parameters

    def to_core(self, parameters: Mapping[str, Any]) -> dict[str, ParameterValue]:
        """Give the core's configuration for a user's.

        Raises:
            SpaceError: A name is missing or unknown, or a value lies outside its range.
        """
        names = self.core.names
        for name in parameters:
            if name not in names:
                right = f"it has {', '.join(map(repr, names))}"
                raise SpaceError(str(name), "the space has no such parameter", right)
        for name in names:
            if name not in parameters:
                raise SpaceError(name, "the configuration has no value for it", "give one")
        return {
            each.name: self._value(each, parameters[each.name]) for each in self.core.parameters
        }

    def _value(self, parameter: Parameter, value: object) -> ParameterValue:
        # The encoding brings NumPy along, which who only names a space does without.
        from tunesmith_core.space.encoding import check

        name = parameter.name
        if isinstance(parameter, Categorical):
            each = self.choices[name]
            index = each.index_of(value)
            if index is None:
                wrong = f"the value {reprlib.repr(value)} is none of its choices"
                raise SpaceError(name, wrong, f"give one of {', '.join(map(repr, each.values))}")
            return each.texts[index]
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            wrong = f"the value {reprlib.repr(value)} is no number"
            raise SpaceError(name, wrong, f"give one from {parameter.lo!r} to {parameter.hi!r}")
        if isinstance(value, numbers.Integral):
            return check(parameter, int(value))
        real = float(value)
        is_whole = isinstance(parameter, Integer) and real.is_integer()
        return check(parameter, int(real) if is_whole else real)


def read_space(given: Space) -> ReadSpace:
    """Read a search space in any of the forms that it may be given in.

    Raises:
        SpaceError: With what is wrong first.
    """
    space: object = given  # whatever the types say, people give other things
    if isinstance(space, SearchSpace):
        return _with_texts(space)
    if not isinstance(space, Mapping):
        wrong = f"the space is {reprlib.repr(space)}"
        raise SpaceError(None, wrong, 'give a dict such as {"lr": tunesmith.log_uniform(1e-5, 1)}')
    from tunesmith.parameter_ranges import is_parameter_ranges, read_parameter_ranges

    if is_parameter_ranges(space):
        return _with_texts(read_parameter_ranges(space))
    parameters, choices = [], {}
    for name, each in space.items():
        if not isinstance(name, str):
            raise SpaceError(None, f"the parameter name {name!r} is no text", "give a str")
        if not isinstance(each, Range):
            raise SpaceError(name, f"its range is {reprlib.repr(each)}", _right_range(name))
        parameters.append(each.named(name))
        if isinstance(each, ChoiceRange):
            choices[name] = each
    return ReadSpace(_filled(SearchSpace(tuple(parameters))), choices)


def _with_texts(space: SearchSpace) -> ReadSpace:
    choices = {
        each.name: ChoiceRange(each.values)
        for each in space.parameters
        if isinstance(each, Categorical)
    }
    return ReadSpace(_filled(space), choices)


def _filled(space: SearchSpace) -> SearchSpace:
    if not space.parameters:
        raise SpaceError(None, "the space has no parameters", "give at least one")
    return space


def _right_range(name: str) -> str:
    if name in _ABOVE_THE_RANGES:
        return "of a request give the value of its ParameterRanges alone"
    return _KINDS


def _reals(lo: float, hi: float, scaling: Scaling) -> Range:
    helper = _HELPERS[False, scaling]
    bounds = [_real(helper, bound) for bound in (lo, hi)]
    return _checked(NumericRange(bounds[0], bounds[1], whole=False, scaling=scaling))


def _whole_numbers(lo: int, hi: int, scaling: Scaling) -> Range:
    helper = _HELPERS[True, scaling]
    bounds = [_whole(helper, bound) for bound in (lo, hi)]
    return _checked(NumericRange(bounds[0], bounds[1], whole=True, scaling=scaling))


def _real(helper: str, bound: object) -> float:
    if isinstance(bound, bool) or not isinstance(bound, numbers.Real):
        raise SpaceError(None, f"{helper}: the bound {bound!r} is no number", "give a float")
    try:
        return float(bound)
    except OverflowError:
        wrong = f"{helper}: the bound {reprlib.repr(bound)} is beyond a float64"
        raise SpaceError(None, wrong, "give a smaller one") from None


def _whole(helper: str, bound: object) -> int:
    if not isinstance(bound, bool) and isinstance(bound, numbers.Integral):
        return int(bound)
    right = "give an int"
    if isinstance(bound, float) and bound.is_integer():
        right = f"give {int(bound)}"
    raise SpaceError(None, f"{helper}: the bound {bound!r} is no whole number", right)


def _checked(given: Range) -> Range:
    """Refuse what the core would refuse, here where the range is made and has no name yet."""
    try:
        given.named("")
    except SpaceError as error:
        raise SpaceError(None, f"{reprlib.repr(given)}: {error.wrong}", error.right) from None
    return given


def _same(one: object, other: object) -> bool:
    return one is other or (type(one) is type(other) and _equal(one, other))


def _equal(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - of foreign values, such as arrays of many truths
        return False
