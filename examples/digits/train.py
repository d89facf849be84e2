"""Train a small neural network on scikit-learn's handwritten digits: a script-mode script.

It runs unchanged on SageMaker: hyperparameters come from ``SM_HPS``, the model goes to
``SM_MODEL_DIR``, and each epoch prints one line that the job's metric definitions read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    """Train, print the metrics of each epoch, and save the model."""
    parameters = json.loads(os.environ["SM_HPS"])
    digits = load_digits()
    train_x, validation_x, train_y, validation_y = train_test_split(
        digits.data, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    scaler = StandardScaler().fit(train_x)
    train_x, validation_x = scaler.transform(train_x), scaler.transform(validation_x)
    network = MLPClassifier(
        hidden_layer_sizes=(int(parameters["hidden_units"]),),
        activation=str(parameters["activation"]),
        learning_rate_init=float(parameters["learning_rate"]),
        alpha=float(parameters["weight_decay"]),
        batch_size=int(parameters["batch_size"]),
        random_state=0,
    )
    for epoch in range(1, int(parameters["epochs"]) + 1):
        network.partial_fit(train_x, train_y, classes=digits.target_names)
        loss = log_loss(validation_y, network.predict_proba(validation_x))
        accuracy = network.score(validation_x, validation_y)
        print(
            f"epoch={epoch} train:loss={network.loss_:.5f} "
            f"validation:loss={loss:.5f} validation:accuracy={accuracy:.5f}",
            flush=True,
        )
    joblib.dump(make_pipeline(scaler, network), Path(os.environ["SM_MODEL_DIR"]) / "model.joblib")


if __name__ == "__main__":
    main()
