"""Train a small neural network on scikit-learn's handwritten digits: a script-mode script.

It runs unchanged in SageMaker's scikit-learn image: hyperparameters are its arguments, and the
model goes to ``SM_MODEL_DIR``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MaxAbsScaler


def main() -> None:
    """Train, print the metric of each epoch, and save the model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--hidden-units", type=int, default=32)
    parser.add_argument("--activation", default="relu")
    parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR", "."))
    arguments = parser.parse_args()

    digits = load_digits()
    train_x, validation_x, train_y, validation_y = train_test_split(
        MaxAbsScaler().fit_transform(digits.data),
        digits.target,
        test_size=0.25,
        stratify=digits.target,
        random_state=0,
    )
    network = MLPClassifier(
        hidden_layer_sizes=(arguments.hidden_units,),
        activation=arguments.activation,
        learning_rate_init=arguments.learning_rate,
        alpha=arguments.weight_decay,
        random_state=0,
    )
    for epoch in range(1, arguments.epochs + 1):
        network.partial_fit(train_x, train_y, classes=digits.target_names)
        accuracy = network.score(validation_x, validation_y)
        print(f"epoch={epoch} validation:accuracy={accuracy:.5f}")
    joblib.dump(network, Path(arguments.model_dir) / "model.joblib")


if __name__ == "__main__":
    main()
