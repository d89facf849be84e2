"""Ask for trials and tell what came of them, in this process, without a server.

    optimizer = tunesmith.Optimizer(space, goal="minimize", seed=7)
    trial = optimizer.ask()
    optimizer.tell(trial, train(**trial.parameters))

The engine is the server's. Not for running a function over and over; see ``tuning.py``.
"""

from __future__ import annotations

import enum
import math
import operator
import reprlib
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias, overload

from tunesmith.errors import InvalidState
from tunesmith.space import Space, read_space
from tunesmith_core import optimizer as core
from tunesmith_core import warmup
from tunesmith_core.devices import DEFAULT_MEMORY_BYTES, Devices
from tunesmith_core.errors import SpaceError, SpaceExhausted
from tunesmith_core.objective import Goal
from tunesmith_core.randomness import MAX_SEED, check_seed
from tunesmith_core.space.ranges import Configuration, ParameterValue

_Row: TypeAlias = tuple[ParameterValue, ...]


class TrialStatus(enum.StrEnum):
    """Say how a trial stands."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Hold one trial as it stood when it was given; a later state is a new ``Trial``.

    Attributes:
        number: From 0, in the order of asking and telling.
        parameters: The value of each parameter, by name. Yours to change.
        status: ``pending``, ``completed``, ``failed`` or ``abandoned``.
        value: The objective; ``None`` unless one was told. Not finite only if the trial failed.
        error: What made it fail, if that was told.
    """

    number: int
    parameters: dict[str, Any] = field(hash=False)
    status: TrialStatus = TrialStatus.PENDING
    value: float | None = None
    error: Exception | None = field(default=None, compare=False)


class Optimizer:
    """Search a space for the parameters that are best: ask for trials, tell what came of them.

    With one seed and the same calls in the same order the trials are the same, also in another
    process on the same machine. Safe for use from several threads. It can't be pickled or copied:
    to go on in a new process, make an optimiser with the same seed and tell it its ``history``.

    Example:
        >>> import tunesmith
        >>> optimizer = tunesmith.Optimizer({"x": tunesmith.uniform(-1, 1)}, seed=7)
        >>> for _ in range(3):
        ...     trial = optimizer.ask()
        ...     trial = optimizer.tell(trial, trial.parameters["x"] ** 2)
        >>> optimizer.best.value
        0.0

    Attributes:
        goal: ``minimize`` or ``maximize``.
        seed: What the search's randomness comes from; give it again to have the same trials.

    Args:
        space: Ranges by name, SageMaker's ParameterRanges as a dict, or the core's SearchSpace.
        goal: Whether small or large values are better.
        seed: From 0 to 2**63 - 1; absent: drawn, and kept in ``seed``.
        device: Where the model is computed. ``auto``: on the GPU when it has many observations and there is one
            that can be used, with ``pip install 'tunesmith[gpu]'``. ``cpu``: never there. ``gpu`` or
            ``gpu:1``: on the first GPU or the second one. When a GPU fails, the CPU goes on.
        device_memory_bytes: The most of the GPU's memory that models may take, those of all optimisers
            of this process with this number; absent: 4 GiB.

    Raises:
        SpaceError: The space breaks a rule.
        ValueError: The goal, the seed, the device or its memory is none.
    """

    def __init__(
        self,
        space: Space,
        goal: str = "minimize",
        seed: int | None = None,
        *,
        device: str = "auto",
        device_memory_bytes: int | None = None,
    ) -> None:
        if goal not in list(Goal):
            raise ValueError(f"the goal is {goal!r}; it must be one of {', '.join(Goal)}")
        self.goal = str(goal)
        self.seed = secrets.randbelow(MAX_SEED + 1) if seed is None else whole("seed", seed)
        check_seed(self.seed)
        self._space = read_space(space)
        memory_bytes = DEFAULT_MEMORY_BYTES if device_memory_bytes is None else device_memory_bytes
        self._core = core.Optimizer(
            self._space.core,
            seed=self.seed,
            goal=Goal(goal),
            devices=Devices(device, memory_bytes=memory_bytes),
        )
        self._lock = threading.Lock()
        self._records: list[_Record] = []
        self._pending: dict[_Row, _Record] = {}
        self._history: list[Trial] = []
        self._best: Trial | None = None
        if not warmup.is_warm():
            warmup.start()

    def __repr__(self) -> str:
        best = "none" if self._best is None else repr(self._best.value)
        return (
            f"Optimizer({len(self._records)} trials, {len(self._pending)} pending, best {best}, "
            f"goal={self.goal!r}, seed={self.seed})"
        )

    @property
    def computed_on(self) -> str:
        """Name what computed the latest suggestion: ``cpu``, or ``gpu:0`` and the card's name."""
        with self._lock:
            return self._core.computed_on

    @property
    def trials(self) -> list[Trial]:
        """Give every trial as it stands now, by number."""
        with self._lock:
            return [record.trial for record in self._records]

    @property
    def history(self) -> list[Trial]:
        """Give the trials that have ended, in the order in which that was told.

        A trial that was abandoned, and told of later, is there as both.
        """
        with self._lock:
            return list(self._history)

    @property
    def pending(self) -> list[Trial]:
        """Give the trials that were asked for, and not told or abandoned, by number."""
        with self._lock:
            return sorted(
                (record.trial for record in self._pending.values()), key=lambda trial: trial.number
            )

    @property
    def best(self) -> Trial | None:
        """Give the completed trial with the best value, the first of equals; ``None`` if none."""
        return self._best

    @property
    def cardinality(self) -> int | None:
        """Give how many configurations the space has; ``None`` if there is no end to them."""
        return self._space.core.cardinality

    @overload
    def ask(self) -> Trial: ...
    @overload
    def ask(self, count: int) -> list[Trial]: ...
    def ask(self, count: int | None = None) -> Trial | list[Trial]:
        """Give the next trial, or several at once; they are pending until they are told.

        Ask again while trials are pending, and the next ones keep their distance from them. The
        first trials are spread evenly and come at once. The first that is chosen by what was told
        waits for the kernels, which are being compiled since the optimiser was made, if the
        machine has never run them.

        Args:
            count: How many trials to give, as a list; absent: one, by itself.

        Returns:
            Trials with distinct parameters that no other trial has or had. Fewer than ``count``
            if no more are left.

        Raises:
            SpaceExhausted: None is left.
            ValueError: ``count`` is below 0.
        """
        if count is None:
            with self._lock:
                return self._next()
        if whole("count", count) < 0:
            raise ValueError(f"{count} trials were asked for; ask for at least 0")
        trials: list[Trial] = []
        with self._lock:
            for _ in range(count):
                try:
                    trials.append(self._next())
                except SpaceExhausted:
                    if not trials:
                        raise
                    break
        return trials

    def tell(
        self,
        trial: Trial | Mapping[str, Any],
        value: SupportsFloat | None = None,
        *,
        failed: bool = False,
        error: Exception | None = None,
    ) -> Trial:
        """Record what came of a trial. What is not accepted changes nothing.

        Args:
            trial: One of ``ask``'s. Or the parameters of a result from elsewhere, which becomes a
                trial of its own, unless a pending trial has just these parameters.
            value: The objective, a number; one that is not finite is a failed trial.
            failed: The trial has no value because it failed. The search keeps away from there.
            error: What made it fail, to be kept with the trial; it implies ``failed``.

        Returns:
            The trial as it stands now.

        Raises:
            InvalidState: The trial was told before.
            SpaceError: The parameters are not of the space.
            TypeError: The value is no number, or there is none and the trial did not fail.
            ValueError: The trial is not one of this optimiser's, or it has a value and failed.
        """
        if error is not None and not isinstance(error, Exception):
            raise TypeError(f"error is {reprlib.repr(error)}; give the exception, or failed=True")
        failed = failed or error is not None
        if failed and value is not None:
            raise ValueError(f"a value, {value!r}, and a failure; tell one of both")
        number = None if failed else number_of(value)
        with self._lock:
            record = self._record_to_tell(trial)
            finite = number if number is not None and math.isfinite(number) else None
            self._core.tell(record.configuration, finite)
            self._settle(
                record,
                TrialStatus.FAILED if finite is None else TrialStatus.COMPLETED,
                value=number,
                error=error,
            )
            if finite is not None and self._is_better(finite):
                self._best = record.trial
            return record.trial

    def abandon(self, trial: Trial | Mapping[str, Any]) -> Trial:
        """Record that nothing will come of a pending trial, which says nothing about it.

        Its parameters are not suggested again. Should a value turn up after all, tell it.

        Args:
            trial: One of ``ask``'s. Or the parameters of one from elsewhere, as for ``tell``.

        Returns:
            The trial as it stands now.

        Raises:
            InvalidState: The trial is not pending.
            SpaceError: The parameters are not of the space.
            ValueError: The trial is not one of this optimiser's.
        """
        with self._lock:
            record = self._record_to_tell(trial)
            now = record.trial
            if now.status is not TrialStatus.PENDING:
                raise InvalidState(f"trial {now.number} is {now.status}, not pending")
            self._core.abandon(record.configuration)
            self._settle(record, TrialStatus.ABANDONED)
            return record.trial

    def _next(self) -> Trial:
        (configuration,) = self._core.ask()
        record = self._add(configuration)
        self._pending[_row(configuration)] = record
        return record.asked

    def _add(self, configuration: Configuration) -> _Record:
        trial = Trial(number=len(self._records), parameters=self._space.to_user(configuration))
        record = _Record(configuration=configuration, asked=trial, trial=trial)
        self._records.append(record)
        return record

    def _record_to_tell(self, trial: Trial | Mapping[str, Any]) -> _Record:
        if not isinstance(trial, Trial):
            configuration = self._space.to_core(_parameters(trial))
            return self._pending.get(_row(configuration)) or self._add(configuration)
        record = self._record_of(trial)
        if record.trial.status in (TrialStatus.COMPLETED, TrialStatus.FAILED):
            told = "a failure" if record.trial.value is None else repr(record.trial.value)
            raise InvalidState(f"trial {trial.number} was told before: {told}; tell a trial once")
        return record

    def _record_of(self, trial: Trial) -> _Record:
        if 0 <= trial.number < len(self._records):
            record = self._records[trial.number]
            # Who holds the very object may have changed the dict in it; who holds a copy, such as
            # one from another process, shows by its parameters that it is the same trial.
            if record.asked is trial or self._is_of(trial, record):
                return record
        raise ValueError(
            f"trial {trial.number} with {reprlib.repr(trial.parameters)} is not one of this "
            "optimiser's; to tell a result from elsewhere, give its parameters as a dict"
        )

    def _is_of(self, trial: Trial, record: _Record) -> bool:
        try:
            return _row(self._space.to_core(trial.parameters)) == _row(record.configuration)
        except SpaceError:
            return False

    def _settle(
        self,
        record: _Record,
        status: TrialStatus,
        *,
        value: float | None = None,
        error: Exception | None = None,
    ) -> None:
        record.trial = Trial(
            number=record.asked.number,
            parameters=self._space.to_user(record.configuration),
            status=status,
            value=value,
            error=error,
        )
        self._pending.pop(_row(record.configuration), None)
        self._history.append(record.trial)

    def _is_better(self, value: float) -> bool:
        if self._best is None or self._best.value is None:
            return True
        if self.goal == Goal.MAXIMIZE:
            return value > self._best.value
        return value < self._best.value


@dataclass(slots=True, kw_only=True)
class _Record:
    """Keep a trial through its states.

    Attributes:
        configuration: Its parameters as the core has them; out of everybody's reach.
        asked: As it was given out.
        trial: As it stands now.
    """

    configuration: Configuration
    asked: Trial
    trial: Trial


def number_of(value: object) -> float:
    """Read an objective value, as functions return it, as a float; it may not be finite.

    Raises:
        TypeError: It is no number.
    """
    right = "give one number, such as a float"
    if value is None:
        raise TypeError(f"there is no value; {right}, or failed=True")
    if not isinstance(value, SupportsFloat | SupportsIndex):
        raise TypeError(f"the value is {reprlib.repr(value)}; {right}")
    try:
        return float(value)
    except OverflowError:  # an int beyond float64
        return math.inf if operator.index(value) > 0 else -math.inf  # type: ignore[arg-type]
    except Exception as error:  # foreign numbers, such as tensors, raise anything
        raise TypeError(f"the value is {reprlib.repr(value)}; {right}") from error


def whole(name: str, count: object) -> int:
    """Read an argument that is a whole number.

    Raises:
        TypeError: It is none; a truth value is none either.
    """
    if isinstance(count, SupportsIndex) and not isinstance(count, bool):
        return operator.index(count)
    raise TypeError(f"{name} is {reprlib.repr(count)}; it must be a whole number, such as 3")


def _parameters(given: object) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    raise TypeError(f"{reprlib.repr(given)} was told; give a trial, or parameters as a dict")


def _row(configuration: Configuration) -> _Row:
    return tuple(configuration.values())
