"""Evaluate configurations in the tasks' own environment, from any other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from benchmarks.optimizer.environments import environment, variables
from benchmarks.optimizer.space import Configuration
from benchmarks.optimizer.tasks.task import Evaluation, Task


class Evaluator:
    """Own a process that evaluates; a context manager."""

    def __init__(self) -> None:
        python = environment("tasks").python
        if not python.exists():
            raise SystemExit("python -m benchmarks.optimizer.environments make tasks")
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.optimizer.tasks.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables(),
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def choose(self, task: Task) -> float | None:
        """Choose the task of the evaluations that follow, and give its optimum, where known."""
        optimum: float | None = self._ask({"task": task.name})["optimum"]
        return optimum

    def evaluate(self, configuration: Configuration, *, seed: int, number: int) -> Evaluation:
        """Evaluate; `seed` and `number` are those of the run and of the evaluation in it."""
        request = {"seed": seed, "number": number, "configuration": dict(configuration)}
        answer = self._ask(request)
        return Evaluation(value=answer["value"], mean=answer["mean"])

    def _ask(self, request: Mapping[str, object]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the evaluating process has ended; its error is above")
        return json.loads(line)
