"""Tune a classifier in this process, without a server."""

from __future__ import annotations

import argparse
from typing import Any

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tunesmith

x, y = load_breast_cancer(return_X_y=True)

SPACE = {
    "alpha": tunesmith.log_uniform(1e-6, 1),
    "l1_ratio": tunesmith.uniform(0, 1),
    "max_iter": tunesmith.log_integers(5, 200),
    "loss": tunesmith.choice(["hinge", "log_loss", "modified_huber"]),
    "average": tunesmith.choice([False, True, 100]),
}


def accuracy(parameters: dict[str, Any]) -> float:
    """Cross-validate the classifier with one trial's parameters."""
    linear = SGDClassifier(penalty="elasticnet", tol=None, random_state=0, **parameters)
    return float(cross_val_score(make_pipeline(StandardScaler(), linear), x, y, cv=5).mean())


def main() -> None:
    """Look for the parameters with the best accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    best = tunesmith.maximize(
        accuracy, SPACE, trials=options.trials, seed=1, workers=options.workers
    )
    print(f"accuracy {best.value:.4f}, found by trial {best.best.number}, with")
    for name, value in best.parameters.items():
        print(f"  {name} = {value!r}")


if __name__ == "__main__":
    main()
