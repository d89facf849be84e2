"""Train a random forest on scikit-learn's handwritten digits: a script-mode script."""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split


def main() -> None:
    """Train, print the accuracy, and save the model."""
    parameters = json.loads(os.environ["SM_HPS"])
    digits = load_digits()
    train_x, validation_x, train_y, validation_y = train_test_split(
        digits.data, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    model = RandomForestClassifier(
        n_estimators=int(parameters["trees"]),
        max_features=float(parameters["max_features"]),
        criterion=str(parameters["criterion"]),
        random_state=0,
    )
    model.fit(train_x, train_y)
    print(f"forest:accuracy={model.score(validation_x, validation_y):.5f}", flush=True)
    joblib.dump(model, Path(os.environ["SM_MODEL_DIR"]) / "model.joblib")


if __name__ == "__main__":
    main()
