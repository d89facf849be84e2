"""A compute worker: a process that holds tuning jobs' optimisers, compiles, and answers asks.

``compute.py`` starts it, with its standard streams as the connection. It is the only module of the
server that loads the optimiser, and so the compiler: never in the process that answers calls.

All it knows it was told, and can be told again. It ends at once when its standard input does, as
happens when the server dies, in whatever way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from tunesmith_core import warmup
from tunesmith_core.devices import DEFAULT_MEMORY_BYTES, Devices
from tunesmith_core.errors import SpaceError, SpaceExhausted
from tunesmith_core.objective import Goal
from tunesmith_core.optimizer import Optimizer, Settings
from tunesmith_core.portfolio import Choice, Portfolio
from tunesmith_core.space.encoding import parse, render
from tunesmith_core.space.ranges import Configuration, SearchSpace
from tunesmith_core.stopping.convergence import Result, has_converged
from tunesmith_core.together import suggest_together
from tunesmith_core.transfer import Experience
from tunesmith_server.domain.history import Abandoned, Told
from tunesmith_server.domain.suggestion import Suggestion
from tunesmith_server.domain.warm_start import Lessons
from tunesmith_server.engine.compute_messages import (
    Answer,
    Ask,
    Assess,
    Assessment,
    Begin,
    Forget,
    Learn,
    Message,
    Report,
    Warm,
    decode,
    encode,
)

logger = logging.getLogger(__name__)

_OUTPUT_FD: Final = 1
_ERRORS_FD: Final = 2

#: Without a seed an optimiser is fitted anew at most once an ask, and only once its history has
#: grown by one of so many parts; when others wait, by one of fewer.
_GROWTH: Final = Settings().fit.growth
_HURRIED_GROWTH: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """Hold one tuning job's optimisers, one for each definition."""

    portfolio: Portfolio
    is_seeded: bool

    def optimizer_of(self, suggestion: Suggestion) -> Optimizer:
        return self.portfolio.optimizers[suggestion.definition_name]


class Searches:
    """Hold the optimisers of tuning jobs, and do what messages say.

    Args:
        is_ready: Tells whether the kernels are compiled. Until they are, tuning jobs without a
            seed of their own get quasi-random suggestions.
        devices: Where models are computed; on the CPU when absent.
    """

    def __init__(self, is_ready: Callable[[], bool], devices: Devices | None = None) -> None:
        self._is_ready, self._devices = is_ready, devices or Devices("cpu")
        self._searches: dict[int, _Search] = {}
        # Why a tuning job's asks are answered with no configurations, until it is begun anew.
        self._faults: dict[int, str] = {}
        self._on: dict[int, str] = {}  # devices, by tuning job

    def begin(self, begin: Begin) -> None:
        """Make a tuning job's optimiser."""
        self.forget(begin.job_id)
        goal = Goal.MAXIMIZE if begin.maximise else Goal.MINIMIZE
        with self._noting_faults(begin.job_id):
            optimizers = {
                name: Optimizer(
                    space,
                    seed=begin.seed,
                    goal=goal,
                    devices=self._devices,
                    experience=None if begin.lessons is None else _experience(space, begin.lessons),
                )
                for name, space in begin.spaces.items()
            }
            self._searches[begin.job_id] = _Search(
                portfolio=Portfolio(optimizers), is_seeded=begin.is_seeded
            )

    def learn(self, news: Learn) -> None:
        """Tell a tuning job's optimiser of ends."""
        search = self._searches.get(news.job_id)
        if search is None:
            return
        with self._noting_faults(news.job_id):
            for end in news.ends:
                optimizer = search.optimizer_of(end.suggestion)
                configuration = _configuration(optimizer.space, end.suggestion)
                match end:
                    case Told():
                        tell = optimizer.correct if end.is_again else optimizer.tell
                        tell(configuration, end.value, rungs=end.rungs, is_stopped=end.is_stopped)
                    case Abandoned():
                        optimizer.abandon(configuration)

    def hear(self, message: Begin | Learn | Forget) -> None:
        """Do what needs no answer."""
        match message:
            case Begin():
                self.begin(message)
            case Learn():
                self.learn(message)
            case Forget(job_id=job_id):
                self.forget(job_id)

    def answers(self, asks: Sequence[Ask]) -> Iterator[Answer]:
        """Answer asks of different tuning jobs: first those that a GPU answers together, then each of the others."""
        together = self._together(asks) if len(asks) > 1 else {}
        yield from together.values()
        for ask in asks:
            if ask.number not in together:
                yield self.ask(ask)

    def ask(self, ask: Ask) -> Answer:
        """Give suggestions, or say why there are none."""
        search, answer = self._searches.get(ask.job_id), Answer(number=ask.number)
        with self._noting_faults(ask.job_id):
            if search is None:
                raise LookupError(f"tuning job {ask.job_id} was not begun here")
            answer = self._suggest(search, ask)
        fault = self._faults.get(ask.job_id, "")
        return Answer(number=ask.number, fault=fault) if fault else answer

    def assess(self, question: Assess) -> Assessment:
        """Tell whether a search has converged; not before the kernels are compiled."""
        number = question.number
        if not self._is_ready():
            return Assessment(number=number)
        try:
            results = [
                Result(
                    definition=end.suggestion.definition_name,
                    configuration=_configuration(
                        question.spaces[end.suggestion.definition_name], end.suggestion
                    ),
                    value=end.value,
                )
                for end in question.ends
                if isinstance(end, Told)
            ]
            goal = Goal.MAXIMIZE if question.maximise else Goal.MINIMIZE
            found = has_converged(question.spaces, results, goal, remaining=question.remaining)
        except Exception as error:
            logger.exception("convergence could not be looked for")
            return Assessment(number=number, fault=_words(error))
        return Assessment(number=number, has_converged=found)

    def forget(self, job_id: int) -> None:
        """Let go of a tuning job's optimiser."""
        self._searches.pop(job_id, None)
        self._faults.pop(job_id, None)
        self._on.pop(job_id, None)

    @contextlib.contextmanager
    def _noting_faults(self, job_id: int) -> Iterator[None]:
        """Keep one tuning job's trouble, the first of it, from all others."""
        try:
            yield
        except Exception as error:
            logger.exception("tuning job %d: its optimiser broke down", job_id)
            self._faults.setdefault(job_id, _words(error))
            self._searches.pop(job_id, None)

    def _together(self, asks: Sequence[Ask]) -> dict[int, Answer]:
        """Answer what can be answered in batches, by the ask's number.

        Those with a seed of their own are left out: rounding depends on who else is in a batch.
        """
        found: dict[int, list[Configuration]] = {}
        takers: list[tuple[Ask, _Search]] = []
        for ask in asks:
            search = self._searches.get(ask.job_id)
            if search is None or search.is_seeded or not self._is_ready():
                continue
            if len(search.portfolio.optimizers) == 1:
                with self._noting_faults(ask.job_id):
                    _hold(search, ask)
                    takers.append((ask, search))
        rest = takers
        try:
            while len(rest) > 1:
                suggested = suggest_together(
                    [_only(search) for _, search in rest],
                    [_growth_of(ask, search) for ask, search in rest],
                )
                for (ask, _), configuration in zip(rest, suggested, strict=True):
                    if configuration is not None:
                        found.setdefault(ask.number, []).append(configuration)
                rest = [
                    taker
                    for taker, configuration in zip(rest, suggested, strict=True)
                    if configuration is not None and len(found[taker[0].number]) < taker[0].count
                ]
        except Exception:
            # Whose fault it is comes out when each is asked alone.
            logger.exception("%d tuning jobs could not be asked together", len(rest))
            return {}
        answers: dict[int, Answer] = {}
        for ask, search in takers:
            if ask.number in found:
                with self._noting_faults(ask.job_id):
                    answers[ask.number] = self._suggest(search, ask, found[ask.number])
        return answers

    def _suggest(
        self, search: _Search, ask: Ask, found: Sequence[Configuration] | None = None
    ) -> Answer:
        """Give suggestions: those that were found, and what is still to be asked for."""
        if found is None:
            _hold(search, ask)
        quasi_random = not search.is_seeded and not self._is_ready()
        name = next(
            iter(search.portfolio.optimizers)
        )  # those found are of a search that has no other
        choices: list[Choice] = [(name, each) for each in found or ()]
        growth, count = _growth_of(ask, search), ask.count - len(choices)
        if count:
            with contextlib.suppress(SpaceExhausted):
                choices += search.portfolio.ask(count, quasi_random=quasi_random, growth=growth)
        return Answer(
            number=ask.number,
            suggestions=[
                Suggestion(
                    parameters={name: render(value) for name, value in configuration.items()},
                    definition_name=definition_name,
                )
                for definition_name, configuration in choices
            ],
            exhausted=len(choices) < ask.count,
            device=self._device(ask.job_id, search),
        )

    def _device(self, job_id: int, search: _Search) -> str:
        """Say where a tuning job's suggestions are computed, and log it when that changes."""
        found = {each.computed_on for each in search.portfolio.optimizers.values()}
        device = " and ".join(sorted(found))
        if device != self._on.get(job_id, "cpu"):
            logger.info("tuning job %d: suggestions are computed on %s", job_id, device)
        self._on[job_id] = device
        return device


def _hold(search: _Search, ask: Ask) -> None:
    """Have what an ask says is pending be it, and nothing else."""
    pending: dict[str | None, list[Configuration]] = {
        name: [] for name in search.portfolio.optimizers
    }
    for each in ask.pending:
        configuration = _configuration(search.optimizer_of(each).space, each)
        pending[each.definition_name].append(configuration)
    for name, optimizer in search.portfolio.optimizers.items():
        optimizer.set_pending(pending[name])


def _growth_of(ask: Ask, search: _Search) -> int | None:
    # With a seed of its own its suggestions never depend on how much else there is to do.
    if search.is_seeded:
        return None
    return _HURRIED_GROWTH if ask.hurried else _GROWTH


def _only(search: _Search) -> Optimizer:
    (optimizer,) = search.portfolio.optimizers.values()
    return optimizer


class _Inbox:
    """Give messages in their order; of those that have come already also what will be next.

    Bounded by what the server sends: one tuning job's news and ask at a time, or those of the few that
    share a turn.
    """

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._next: Message | Report | None = None

    def put(self, line: bytes) -> None:
        """Take in a line."""
        self._lines.put(line)

    def take(self) -> Message | Report:
        """Give the next message; waits for it."""
        message, self._next = self._next, None
        return decode(self._lines.get()) if message is None else message

    def take_if(self, is_wanted: Callable[[Message | Report], bool]) -> Message | Report | None:
        """Give the next message if it has come, and is one that is wanted."""
        if self._next is None:
            with contextlib.suppress(queue.Empty):
                self._next = decode(self._lines.get_nowait())
        if self._next is None or not is_wanted(self._next):
            return None
        return self.take()


def main(
    warm_up: Callable[[], None] = warmup.warm_up,
    *,
    device: str = "cpu",
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
) -> None:
    """Serve until standard input ends; never returns.

    Args:
        warm_up: Has the kernels compiled.
        device: Where models are computed: ``auto``, ``cpu``, ``gpu`` or ``gpu:NUMBER``.
        memory_bytes: The most of a GPU's memory that arrays take.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        # What libraries print goes to the log, not into the connection.
        reports = os.fdopen(os.dup(_OUTPUT_FD), "wb")
        os.dup2(_ERRORS_FD, _OUTPUT_FD)
        _serve(reports, warm_up, Devices(device, memory_bytes=memory_bytes))
    except BrokenPipeError:
        pass  # the server is gone
    except BaseException:
        logger.exception("a compute worker broke down")
        os._exit(1)
    os._exit(0)


def _serve(reports: BinaryIO, warm_up: Callable[[], None], devices: Devices) -> None:
    ready, writing = threading.Event(), threading.Lock()

    def report(item: Report) -> None:
        with writing:
            reports.write(encode(item))
            reports.flush()

    def get_ready() -> None:
        fault = ""
        try:
            warm_up()
        except Exception as error:
            logger.exception("the kernels can't be compiled")
            fault = _words(error)
        # Also after a fault: whoever needs the kernels is then told of it.
        ready.set()
        report(Warm(fault=fault))

    inbox = _Inbox()
    threading.Thread(target=_read, args=(inbox,), name="reader", daemon=True).start()
    threading.Thread(target=get_ready, name="warm-up", daemon=True).start()
    searches = Searches(ready.is_set, devices)
    while True:
        match inbox.take():
            case Ask() as ask:
                for answer in searches.answers([ask, *_behind(ask, inbox, searches)]):
                    report(answer)
            case Assess() as question:
                report(searches.assess(question))
            case Begin() | Learn() | Forget() as news:
                searches.hear(news)
            case Answer() | Assessment() | Warm() as other:
                raise ValueError(f"{other} is for a worker to say")


def _behind(first: Ask, inbox: _Inbox, searches: Searches) -> Iterator[Ask]:
    """Give the asks of other tuning jobs that came meanwhile, and hear the news before them."""
    asked = {first.job_id}

    def is_wanted(message: Message | Report) -> bool:
        return isinstance(message, Ask | Begin | Learn | Forget) and message.job_id not in asked

    while (message := inbox.take_if(is_wanted)) is not None:
        match message:
            case Ask(job_id=job_id):
                asked.add(job_id)
                yield message
            case Begin() | Learn() | Forget():
                searches.hear(message)


def _read(inbox: _Inbox) -> None:
    """Take in lines, also while something is computed; the end of them is the end of the process."""
    with open(0, "rb", closefd=False) as messages:
        for line in messages:
            inbox.put(line)
    os._exit(0)


def _experience(space: SearchSpace, lessons: Lessons) -> Experience:
    """Read what earlier searches found, as far as it lies inside the ranges."""
    known = SearchSpace((*space.parameters, *lessons.extra))
    searches = []
    for ends in lessons.searches:
        results = []
        for end in ends:
            with contextlib.suppress(SpaceError):
                results.append((_configuration(known, end.suggestion), end.value))
        if results:
            searches.append(results)
    return Experience(
        searches=searches,
        extra=lessons.extra,
        fixed=_configuration(SearchSpace(lessons.extra), Suggestion(parameters=lessons.fixed)),
        same_objective=lessons.same_objective,
    )


def _configuration(space: SearchSpace, suggestion: Suggestion) -> Configuration:
    texts = suggestion.parameters
    return {each.name: parse(each, texts[each.name]) for each in space.parameters}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    _device, _memory_bytes = sys.argv[1:] or ("auto", DEFAULT_MEMORY_BYTES)
    main(device=_device, memory_bytes=int(_memory_bytes))
