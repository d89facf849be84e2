"""Train a support vector machine on scikit-learn's handwritten digits: a script-mode script."""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def main() -> None:
    """Train, print the accuracy, and save the model."""
    parameters = json.loads(os.environ["SM_HPS"])
    digits = load_digits()
    train_x, validation_x, train_y, validation_y = train_test_split(
        digits.data, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    machine = SVC(C=float(parameters["c"]), gamma=float(parameters["gamma"]))
    model = make_pipeline(StandardScaler(), machine).fit(train_x, train_y)
    print(f"svm:accuracy={model.score(validation_x, validation_y):.5f}", flush=True)
    joblib.dump(model, Path(os.environ["SM_MODEL_DIR"]) / "model.joblib")


if __name__ == "__main__":
    main()
