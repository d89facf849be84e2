"""Evaluate configurations for a process in another environment, over stdin and stdout.

All methods thus meet the same numpy and scikit-learn, whatever their own environment has. One JSON
object a line, each answered by one: `{"task": ...}` chooses a task and is answered with its optimum;
`{"seed": ..., "number": ..., "configuration": {...}}` is answered with its evaluation.
"""

from __future__ import annotations

import json
import sys

from benchmarks.optimizer.tasks.catalogue import by_name
from benchmarks.optimizer.tasks.objectives import noise_seed, objective


def main() -> None:
    """Answer until the other end closes."""
    task = None
    for line in sys.stdin:
        request = json.loads(line)
        if "task" in request:
            task = by_name(request["task"])
            chosen = objective(task)
            answer = {"optimum": chosen.optimum}
        else:
            assert task is not None, "choose a task first"
            seed = noise_seed(task, request["seed"], request["number"])
            asked = request["configuration"]
            # In the space's order, whatever the method's was.
            configuration = {parameter.name: asked[parameter.name] for parameter in task.space}
            evaluation = chosen.evaluate(configuration, seed)
            answer = {"value": evaluation.value, "mean": evaluation.mean}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
