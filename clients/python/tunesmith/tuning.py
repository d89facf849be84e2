"""Tune a function in this process: call it with one trial's parameters after the other.

    best = tunesmith.minimize(train, {"lr": tunesmith.log_uniform(1e-5, 1e-1)}, trials=50)

Not for programs that call their function themselves; see ``optimizer.py``.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO, TypeAlias

from tunesmith.errors import TunesmithError
from tunesmith.function_calls import Calls, Ending, Function, Inline, Threads
from tunesmith.optimizer import Optimizer, Trial, TrialStatus, number_of, whole
from tunesmith.space import Space
from tunesmith_core.errors import SpaceExhausted
from tunesmith_core.objective import Goal

Catch: TypeAlias = type[Exception] | tuple[type[Exception], ...]
"""Types of exceptions, as an ``except`` takes them."""

_Show: TypeAlias = Callable[[Trial, Trial | None], None]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Outcome:
    """Hold what tuning a function came to.

    Attributes:
        best: The trial with the best value.
        trials: All trials by number, the failed ones among them.
        seed: What the search's randomness came from; give it again to have the same trials.
        interrupted: Whether Ctrl-C ended it before its time.
    """

    best: Trial
    trials: tuple[Trial, ...]
    seed: int
    interrupted: bool

    @property
    def parameters(self) -> dict[str, Any]:
        """Give the best parameters, by name."""
        return self.best.parameters

    @property
    def value(self) -> float:
        """Give the best value."""
        return number_of(self.best.value)

    def __repr__(self) -> str:
        failed = sum(trial.status is TrialStatus.FAILED for trial in self.trials)
        return (
            f"Outcome(value={self.value!r}, parameters={self.parameters!r}, "
            f"{len(self.trials)} trials, {failed} failed)"
        )


class AllTrialsFailed(TunesmithError):
    """Say that no trial gave a finite value. The last exception that was caught is the cause.

    Attributes:
        trials: The failed trials, each with its ``value`` or ``error``.
    """

    def __init__(self, message: str, *, trials: tuple[Trial, ...] = ()) -> None:
        super().__init__(message)
        self.trials = trials


def minimize(
    fn: Function,
    space: Space,
    trials: int = 50,
    *,
    seed: int | None = None,
    workers: int = 1,
    catch: Catch = (),
    progress: bool | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> Outcome:
    """Look for the parameters with which a function gives the smallest value.

    An exception of the function ends the search and is raised on, with a note of the trial that
    it came from and of the best so far; trials that run beside it are waited for. Exceptions in
    ``catch`` are failed trials instead, as are values that are not finite.

    Ctrl-C ends the search early and gives what was found so far. With ``workers``, trials that
    run are waited for; a second Ctrl-C gives them up. Before the first value it is raised on.

    Example:
        >>> import tunesmith
        >>> def loss(parameters):
        ...     return (parameters["x"] - 0.3) ** 2 + parameters["depth"]
        >>> space = {"x": tunesmith.uniform(0, 1), "depth": tunesmith.integers(1, 4)}
        >>> best = tunesmith.minimize(loss, space, trials=15, seed=7)
        >>> best.parameters["depth"], len(best.trials)
        (1, 15)

    Args:
        fn: Takes a dict of parameters, gives a number.
        space: Ranges by name, SageMaker's ParameterRanges as a dict, or the core's SearchSpace.
        trials: How many times to call it, at least 1; fewer if the space has no more
            configurations.
        seed: From 0 to 2**63 - 1; absent: drawn, and kept in the outcome. With one worker the
            same seed gives the same trials.
        workers: How many trials run at a time, at least 1. One runs in the caller's thread,
            several in threads of their own.
        catch: Exceptions of the function that mean that a trial failed, no more.
        progress: Whether to show progress on standard error: trials ended, best so far, time
            left. Absent: if that is a terminal. True: also where it is none, as a few lines.
        on_trial: Called in the caller's thread with every trial that has ended.

    Raises:
        AllTrialsFailed: No trial gave a finite value.
        SpaceError: The space breaks a rule.
        TypeError: The function gave something that is no number.
        ValueError: An argument is out of range.
    """
    return _tune(
        fn,
        Optimizer(space, Goal.MINIMIZE, seed),
        _Plan(trials=trials, workers=workers, catch=catch, progress=progress, on_trial=on_trial),
    )


def maximize(
    fn: Function,
    space: Space,
    trials: int = 50,
    *,
    seed: int | None = None,
    workers: int = 1,
    catch: Catch = (),
    progress: bool | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> Outcome:
    """Look for the parameters with which a function gives the largest value; as ``minimize``.

    Example:
        >>> import tunesmith
        >>> space = {"kind": tunesmith.choice(["linear", None]), "x": tunesmith.integers(0, 3)}
        >>> best = tunesmith.maximize(lambda p: p["x"] - (p["kind"] is None), space, seed=7)
        >>> best
        Outcome(value=3.0, parameters={'kind': 'linear', 'x': 3}, 8 trials, 0 failed)
    """
    return _tune(
        fn,
        Optimizer(space, Goal.MAXIMIZE, seed),
        _Plan(trials=trials, workers=workers, catch=catch, progress=progress, on_trial=on_trial),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Hold how a function is to be tuned; see ``minimize``."""

    trials: int
    workers: int
    catch: Catch
    progress: bool | None
    on_trial: Callable[[Trial], None] | None

    def __post_init__(self) -> None:
        for name, count in (("trials", self.trials), ("workers", self.workers)):
            if whole(name, count) < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        if self.on_trial is not None and not callable(self.on_trial):
            raise TypeError(f"on_trial is {self.on_trial!r}; it must be a function of a trial")
        kinds: tuple[object, ...] = self.catch if isinstance(self.catch, tuple) else (self.catch,)
        if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
            raise ValueError(f"catch is {self.catch!r}; it must be types of exceptions, as a tuple")


def _tune(fn: Function, optimizer: Optimizer, plan: _Plan) -> Outcome:
    if not callable(fn):
        raise TypeError(f"{fn!r} is to be tuned; give a function of a dict of parameters")
    calls: Calls = Inline(fn) if plan.workers == 1 else Threads(fn, plan.workers)
    total = min(plan.trials, optimizer.cardinality or plan.trials)
    with contextlib.closing(calls), _progress(total, plan) as show:
        tuning = _Tuning(optimizer, plan, calls, show)
        try:
            tuning.run()
        except KeyboardInterrupt:
            tuning.interrupt()
    return tuning.outcome()


class _Tuning:
    """Ask, have the function called, tell; all in the caller's thread."""

    def __init__(self, optimizer: Optimizer, plan: _Plan, calls: Calls, show: _Show) -> None:
        self._optimizer = optimizer
        self._plan = plan
        self._calls = calls
        self._show = show
        self._left = plan.trials
        self._running = 0
        self._interrupted = False

    def run(self) -> None:
        """Run all trials.

        Raises:
            KeyboardInterrupt: Somebody pressed Ctrl-C; trials may be running.
        """
        self._start_more()
        while self._running:
            ending = self._wait()
            if isinstance(ending.error, KeyboardInterrupt):
                raise ending.error
            if ending.error is not None and (
                ending.is_misuse or not isinstance(ending.error, self._plan.catch)
            ):
                with contextlib.suppress(KeyboardInterrupt):  # who cannot wait gets the error too
                    self._wait_for_running()
                ending.error.add_note(self._note(ending.trial))
                raise ending.error
            _clear(ending.error)
            self._start_more()

    def interrupt(self) -> None:
        """End early: wait for the trials that still run."""
        self._interrupted = True
        if self._plan.workers > 1:
            with contextlib.suppress(KeyboardInterrupt):  # also one that comes with the words
                if self._running and self._plan.progress is not False:
                    again = "press Ctrl-C again to give them up"
                    _write(sys.stderr, f"waiting for {self._running} running trials; {again}\n")
                self._wait_for_running()
        for trial in self._optimizer.pending:
            self._optimizer.abandon(trial)

    def outcome(self) -> Outcome:
        """Give what it all came to.

        Raises:
            AllTrialsFailed: There is no best trial.
            KeyboardInterrupt: Nor were all trials run.
        """
        trials = tuple(self._optimizer.trials)
        best = self._optimizer.best
        if best is not None:
            return Outcome(
                best=best,
                trials=trials,
                seed=self._optimizer.seed,
                interrupted=self._interrupted,
            )
        if self._interrupted:
            raise KeyboardInterrupt
        raised = [trial.error for trial in trials if trial.error is not None]
        message = (
            f"all {len(trials)} trials failed: {len(raised)} raised an exception, "
            f"{len(trials) - len(raised)} gave a value that is not finite"
        )
        raise AllTrialsFailed(message, trials=trials) from (raised[-1] if raised else None)

    def _start_more(self) -> None:
        while self._left and self._running < self._plan.workers:
            try:
                trial = self._optimizer.ask()
            except SpaceExhausted:
                self._left = 0
                return
            self._left -= 1
            self._running += 1
            self._calls.start(trial)

    def _wait_for_running(self) -> None:
        while self._running:
            self._wait()

    def _wait(self) -> Ending:
        """Wait for the next trial to end, and take in what came of it."""
        ending = self._calls.wait()
        self._running -= 1
        if ending.error is None:
            trial = self._optimizer.tell(ending.trial, ending.value)
        elif isinstance(ending.error, Exception):
            trial = self._optimizer.tell(ending.trial, error=ending.error)
        else:  # an interrupt or an exit says nothing of the parameters
            self._optimizer.abandon(ending.trial)
            return ending
        self._show(trial, self._optimizer.best)
        if self._plan.on_trial is not None:
            self._plan.on_trial(trial)
        return ending

    def _note(self, trial: Trial) -> str:
        best = self._optimizer.best
        found = (
            "no trial has a value yet"
            if best is None
            else f"the best so far is {best.value!r} with {best.parameters!r}"
        )
        return (
            f"Raised by trial {trial.number} with {trial.parameters!r}; {found}. "
            "Exceptions whose types are given as `catch` are failed trials instead."
        )


def _clear(error: BaseException | None) -> None:
    """Let go of what the frames of an exception that is kept hold on to, such as whole models."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _progress(total: int, plan: _Plan) -> contextlib.AbstractContextManager[_Show]:
    if plan.progress is False or (plan.progress is None and not _is_terminal(sys.stderr)):
        return contextlib.nullcontext(lambda _trial, _best: None)
    # It brings rich along, which nobody needs who is shown nothing.
    from tunesmith.progress import shown

    return shown(total, always=plan.progress is True)


# A program without a console, such as under pythonw, has no standard error.


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(text)
