"""Names and ARNs: built and parsed here and nowhere else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

TUNING_JOB_RESOURCE = "hyper-parameter-tuning-job"
TRAINING_JOB_RESOURCE = "training-job"
ALGORITHM_RESOURCE = "algorithm"

#: Hyperparameter that SageMaker adds to every training job: the name of the objective metric.
OBJECTIVE_HYPER_PARAMETER = "_tuning_objective_metric"

OUTPUT_MARK = '\nErrorMessage "'
"""Where the end of a program's output begins in a ``FailureReason``, as runners write it."""

EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
"""Hyperparameters from which Hyperband's MaxResource is taken when it is not given."""

_ARN_PARTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Say whose resources these are.

    Attributes:
        region: Region part of every ARN, ``[a-z0-9-]+``.
        account_id: Account part of every ARN, 12 digits.
    """

    region: str = "local"
    account_id: str = "000000000000"

    def tuning_job_arn(self, name: str) -> str:
        """Build a tuning job's ARN; SageMaker lower-cases the name in it."""
        return self._arn(TUNING_JOB_RESOURCE, name)

    def training_job_arn(self, name: str) -> str:
        """Build a training job's ARN; SageMaker lower-cases the name in it."""
        return self._arn(TRAINING_JOB_RESOURCE, name)

    def algorithm_arn(self, name: str) -> str:
        """Build the ARN of an algorithm of the site, whose name keeps its case."""
        return self._prefixed(f"{ALGORITHM_RESOURCE}/{name}")

    def _arn(self, resource: str, name: str) -> str:
        return self._prefixed(f"{resource}/{name.lower()}")

    def _prefixed(self, path: str) -> str:
        return f"arn:aws:sagemaker:{self.region}:{self.account_id}:{path}"


def training_job_name(tuning_job_name: str, index: int, created_at: datetime) -> str:
    """Name the training job launched as the ``index``-th of its tuning job, from 1.

    The form is SageMaker's, ``<tuning job>-<NNN>-<8 hex>``. The hex part is a digest of the
    tuning job's name and creation time and of the index, so that naming needs no randomness
    and a tuning job made anew under an old name gets names of its own.
    """
    identity = f"{tuning_job_name}/{created_at.isoformat()}/{index}"
    digest = hashlib.blake2s(identity.encode(), digest_size=4).hexdigest()
    return f"{tuning_job_name}-{index:03d}-{digest}"


def name_of_arn(arn: str) -> tuple[str, str]:
    """Split an ARN into the resource's type and its lower-cased name.

    Raises:
        ValueError: Not an ARN of a named resource.
    """
    parts = arn.split(":", _ARN_PARTS - 1)
    kind, _, name = parts[-1].partition("/")
    if len(parts) != _ARN_PARTS or parts[0] != "arn" or not kind or not name:
        form = "arn:<partition>:<service>:<region>:<account>:<type>/<name>"
        raise ValueError(f"{arn!r} is not an ARN of the form {form}")
    return kind, name.lower()
