"""Optuna's gRPC storage proxy over SQLite, and its clients; `storage_proxy.py` runs them.

    python optuna_proxy.py serve PORT FILE
    python optuna_proxy.py work PORT STUDY SECONDS

It needs Optuna, grpcio and no Tunesmith: the environment `optuna` of `optimizer/environments.toml`.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from importlib import import_module
from typing import Any

DIMENSIONS = 10
_ERRORS = logging.ERROR


def serve(port: int, file: str) -> None:
    """Serve a database until killed."""
    import_module("optuna").logging.set_verbosity(_ERRORS)
    storages: Any = import_module("optuna.storages")
    storage = storages.get_storage(f"sqlite:///{file}")
    storages.run_grpc_proxy_server(storage, host="127.0.0.1", port=port)


def work(port: int, study_name: str, seconds: float) -> None:
    """Ask and tell for so long, once a line is read, and print how many trials that were."""
    optuna: Any = import_module("optuna")
    optuna.logging.set_verbosity(_ERRORS)
    storage = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
    storage.wait_server_ready(timeout=60)
    study = optuna.create_study(
        study_name=study_name,
        storage=storage,
        sampler=optuna.samplers.RandomSampler(),
        load_if_exists=True,
    )
    uniform = optuna.distributions.FloatDistribution(0.0, 1.0)
    ranges = {f"x{number}": uniform for number in range(DIMENSIONS)}
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + seconds
    told = 0
    while time.monotonic() < end:
        trial = study.ask(ranges)
        study.tell(trial, sum((value - 0.3) ** 2 for value in trial.params.values()))
        told += 1
    print(told, flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), sys.argv[3])
    else:
        work(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
