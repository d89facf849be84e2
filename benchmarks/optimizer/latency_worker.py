"""Time one method's tell and ask, when told to; started by `latency.py`, in the method's environment.

One JSON object a line: `{"method", "d", "n", "seed"}` begins anew, `{"round": true}` times a round.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from benchmarks.optimizer.methods.by_name import make_method
from benchmarks.optimizer.methods.method import Method
from benchmarks.optimizer.space import Configuration, real, unit_to_value
from benchmarks.optimizer.tasks.formulas import levy

#: What a method that plans ahead is told: more than will be told.
EVALUATIONS = 10_000


class Session:
    """Hold a method, and the configuration that it waits to be told about."""

    def __init__(self, method: str, *, d: int, n: int, seed: int) -> None:
        space = tuple(real(f"x{number}", -5, 5) for number in range(d))
        self._method: Method = make_method(method, space, seed=seed, evaluations=EVALUATIONS)
        rng = np.random.default_rng(seed)
        for _ in range(n):
            u = rng.random(d)
            told = {
                each.name: unit_to_value(each, float(x)) for each, x in zip(space, u, strict=True)
            }
            self._method.tell(told, value(told))
        self._asked: Configuration = self._method.ask()
        self.round()

    def round(self) -> float:
        """Tell and ask; give the seconds that this took."""
        found = value(self._asked)
        began = time.perf_counter()
        self._method.tell(self._asked, found)
        self._asked = self._method.ask()
        return time.perf_counter() - began


def value(configuration: Configuration) -> float:
    """Evaluate Levy's function."""
    return levy(np.array([float(each) for each in configuration.values()]))


def main() -> None:
    """Answer until the other end closes."""
    # What a library prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    session: Session | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "method" in request:
            session = Session(
                request["method"], d=request["d"], n=request["n"], seed=request["seed"]
            )
            answer: dict[str, float] = {}
        else:
            assert session is not None, "name a method first"
            answer = {"seconds": session.round()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
