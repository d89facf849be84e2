"""What a runner is told to run: a training job's definition, resolved against the site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tunesmith.v1 import runner_service_pb2 as pb
from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith_server.domain import events as ev
from tunesmith_server.domain.errors import InvalidRequest
from tunesmith_server.domain.job_spec import instance_of, runtime_limit
from tunesmith_server.domain.names import OBJECTIVE_HYPER_PARAMETER
from tunesmith_server.domain.site import Site, resolve_algorithm, runs_script
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobSpec

_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigner:
    """Turn trials into assignments.

    Attributes:
        site: What is registered on this site.
        stop_grace: Between SIGTERM and SIGKILL; SageMaker's is 120 s.
        clock: Gives the time, for the report of a trial that can't be assigned.
    """

    site: Site
    stop_grace: timedelta
    clock: Callable[[], datetime]

    def gpu_count(self, spec: JobSpec, trial: Trial) -> int:
        """Count the GPUs that a trial needs."""
        instance_type, _ = instance_of(message_of(spec, trial))
        profile = self.site.instance_profile(instance_type)
        return profile.gpus if profile is not None else 0

    def assignment(self, spec: JobSpec, trial: Trial) -> pb.TrialAssignment | ev.TrialReported:
        """Write a trial's assignment, or the failure of a trial that can't be run any more.

        The latter happens when the site's configuration lost an algorithm, or became stricter about what
        a request may set, between the tuning job's creation and now.
        """
        definition = message_of(spec, trial)
        try:
            algorithm = resolve_algorithm(
                definition.algorithm_specification,
                self.site,
                is_script=runs_script(definition),
            )
        except InvalidRequest as error:
            told = "; ".join(violation.message for violation in error.violations)
            return self._failure(trial, f"ClientError: {told}")
        untaken = self.site.untaken_variables(algorithm.registered_name, definition.environment)
        if untaken:
            return self._failure(
                trial,
                f"ClientError: this site takes {', '.join(untaken)} from requests no more: "
                f"[algorithms.{algorithm.registered_name}] environment_names lists what it takes.",
            )
        instance_type, volume_gib = instance_of(definition)
        assignment = pb.TrialAssignment(
            training_job_name=trial.name,
            lease_token=trial.lease_token,
            training_job_arn=spec.account.training_job_arn(trial.name),
            hyper_parameter_tuning_job_name=spec.name,
            command=algorithm.command,
            environment={**algorithm.environment, **definition.environment},
            hyper_parameters=hyper_parameters(spec, trial),
            metric_definitions=[
                definition_pb.MetricDefinition(name=metric.name, regex=metric.regex)
                for metric in algorithm.metric_definitions
            ],
            input_data_config=definition.input_data_config,
            output_data_config=definition.output_data_config,
            instance_type=instance_type,
            gpu_count=self.gpu_count(spec, trial),
            volume_size_bytes=volume_gib * _GIB,
            training_input_mode=definition.algorithm_specification.training_input_mode,
            checkpoint_config=(
                definition.checkpoint_config if definition.HasField("checkpoint_config") else None
            ),
        )
        left = runtime_limit(definition) - trial.spent  # all attempts share the limit
        assignment.max_runtime.FromTimedelta(max(left, timedelta(seconds=1)))
        assignment.stop_grace.FromTimedelta(self.stop_grace)
        return assignment

    def _failure(self, trial: Trial, reason: str) -> ev.TrialReported:
        ended = ev.TrialEnded(
            outcome=ev.Outcome.FAILED,
            failure_reason=reason,
            retryable=False,
            model_artifacts_uri="",
            training_started_at=None,
        )
        return ev.TrialReported(
            trial_name=trial.name,
            lease_token=trial.lease_token,
            sequence=trial.reported_sequence + 1,
            reported_at=self.clock(),
            report=ended,
        )


def hyper_parameters(spec: JobSpec, trial: Trial) -> dict[str, str]:
    """Give all hyperparameters of a trial: static, tuned and the objective's name."""
    metric_name = spec.definition_of(trial).metric_name
    static = message_of(spec, trial).static_hyper_parameters
    return {**static, **trial.parameters, OBJECTIVE_HYPER_PARAMETER: metric_name}


def message_of(spec: JobSpec, trial: Trial) -> definition_pb.HyperParameterTrainingJobDefinition:
    """Give the training job definition of a trial; an empty one where callers run the trials."""
    message = spec.definition_of(trial).message
    return definition_pb.HyperParameterTrainingJobDefinition() if message is None else message
