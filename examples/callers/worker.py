"""Run trials of a tuning job that a server drives: start it as often as there are machines for it.

python examples/callers/worker.py [--server HOST:PORT] [--name NAME] [--workers 4]
"""

from __future__ import annotations

import argparse
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tunesmith

#: Stands for what some hyperparameters can't do together.
DEEPEST_LINEAR = 6


def run(trial: tunesmith.JobTrial) -> None:
    """Run a trial; one that raises is completed as failed, and not kept for ever."""
    with trial:
        evaluate(trial)


def evaluate(trial: tunesmith.JobTrial) -> None:
    """Stand for a training of your own, with a loss after each of five epochs."""
    rate, depth = float(trial.parameters["rate"]), int(trial.parameters["depth"])
    if trial.parameters["kind"] == "linear" and depth > DEEPEST_LINEAR:
        trial.complete(infeasible="a linear model has no such depth")
        return
    loss = math.inf
    for epoch in range(1, 6):
        loss = (math.log10(rate) + 3) ** 2 + abs(depth - 5) / 5 + 1 / epoch
        if trial.report({"loss": loss}, step=epoch):
            break  # the server wants it ended with what it has
    trial.complete(loss)


def main() -> None:
    """Create the tuning job, unless another worker has, and run its trials until it has ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--server", default="localhost:7070")
    parser.add_argument("--name", help="of the tuning job; default: as job.json has it")
    parser.add_argument("--workers", type=int, default=4, help="trials at a time in this process")
    arguments = parser.parse_args()
    request = json.loads(Path(__file__).with_name("job.json").read_text(encoding="utf-8"))
    if arguments.name is not None:
        request["HyperParameterTuningJobName"] = arguments.name
    with tunesmith.connect(arguments.server) as client:
        try:
            job = client.create(request)
        except tunesmith.ResourceInUse:
            job = client.job(request["HyperParameterTuningJobName"])
        with ThreadPoolExecutor(arguments.workers) as pool:
            for trial in job.trials(workers=arguments.workers):
                pool.submit(run, trial).add_done_callback(lambda done: done.result())
        described = job.describe()
        if described.HasField("best_training_job"):
            best = described.best_training_job
            value = best.final_hyper_parameter_tuning_job_objective_metric.value
            parameters = dict(sorted(best.tuned_hyper_parameters.items()))
            print(f"{best.training_job_name}: {value:.4f} {parameters}")


if __name__ == "__main__":
    main()
