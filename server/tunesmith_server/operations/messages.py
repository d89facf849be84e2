"""What Describe and List answer: stored state as messages of the contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from tunesmith.v1 import training_job_definition_pb2 as definition_pb
from tunesmith.v1 import (
    training_job_operations_pb2,
    training_job_pb2,
    tuning_job_pb2,
)
from tunesmith.v1 import tuning_service_pb2 as pb
from tunesmith_server.domain import views
from tunesmith_server.domain.job_spec import (
    filled_definition,
    filled_request,
    metric_name_of,
    read_job_spec,
)
from tunesmith_server.domain.names import Account
from tunesmith_server.domain.site import Site
from tunesmith_server.domain.states import SecondaryStatus
from tunesmith_server.domain.trial import Trial
from tunesmith_server.domain.tuning_job import JobSpec
from tunesmith_server.domain.warm_start import best_of_family, is_identical
from tunesmith_server.engine.assignments import hyper_parameters, message_of
from tunesmith_server.store.store import StoredJob, StoredTrial


class Messages:
    """Write the answers of this account."""

    def __init__(self, *, account: Account, site: Site) -> None:
        self._account = account
        self._site = site

    def spec(self, stored: StoredJob) -> JobSpec:
        """Read a stored tuning job's request again."""
        return read_job_spec(
            stored.request, account=self._account, site=self._site, seed=stored.seed, trusted=True
        )

    def tuning_job(
        self,
        stored: StoredJob,
        *,
        now: datetime,
        parents: Sequence[StoredJob] = (),
        device: str | None = None,
    ) -> pb.DescribeHyperParameterTuningJobResponse:
        """Write a tuning job as Describe shows it: the request with defaults filled, and state.

        Args:
            stored: The tuning job.
            now: The time.
            parents: The tuning jobs that it starts with.
            device: What computed its latest suggestion, if that is known.
        """
        job, spec = stored.job, self.spec(stored)
        echo = filled_request(spec, self._site)
        best = None if job.best is None else self._summary(job.best, stored)
        runtime = (job.ended_at or now) - job.created_at
        has_definition = echo.HasField("training_job_definition")
        has_warm_start = echo.HasField("warm_start_config")
        has_lease = echo.HasField("trial_lease_config")
        return pb.DescribeHyperParameterTuningJobResponse(
            hyper_parameter_tuning_job_name=spec.name,
            hyper_parameter_tuning_job_arn=stored.arn,
            hyper_parameter_tuning_job_config=echo.hyper_parameter_tuning_job_config,
            training_job_definition=echo.training_job_definition if has_definition else None,
            training_job_definitions=echo.training_job_definitions,
            trial_lease_config=echo.trial_lease_config if has_lease else None,
            suggestion_device=device,
            autotune=echo.autotune if echo.HasField("autotune") else None,
            hyper_parameter_tuning_job_status=views.TUNING_STATUS_VALUES[job.status],
            creation_time=views.timestamp(job.created_at),
            hyper_parameter_tuning_end_time=views.timestamp(job.ended_at),
            last_modified_time=views.timestamp(job.modified_at),
            training_job_status_counters=views.status_counters(job.counters, stored.in_progress),
            objective_status_counters=views.objective_counters(job.counters, stored.in_progress),
            best_training_job=best,
            overall_best_training_job=self._overall_best(stored, parents),
            warm_start_config=echo.warm_start_config if has_warm_start else None,
            failure_reason=job.failure_reason,
            tuning_job_completion_details=views.completion_details(job),
            consumed_resources=tuning_job_pb2.HyperParameterTuningJobConsumedResources(
                runtime_in_seconds=max(0, int(runtime.total_seconds()))
            ),
        )

    def _overall_best(
        self, stored: StoredJob, parents: Sequence[StoredJob]
    ) -> tuning_job_pb2.HyperParameterTrainingJobSummary | None:
        """Write the best training job of a tuning job and its parents, if they can be compared."""
        if not is_identical(stored.request):
            return None
        family = [stored, *parents]
        goal = self.spec(stored).goal
        place = best_of_family([each.job.best for each in family], goal)
        best = None if place is None else family[place].job.best
        return None if place is None or best is None else self._summary(best, family[place])

    def tuning_job_summary(
        self, stored: StoredJob
    ) -> tuning_job_pb2.HyperParameterTuningJobSummary:
        """Write a tuning job as List shows it."""
        job = stored.job
        config = stored.request.hyper_parameter_tuning_job_config
        limits = tuning_job_pb2.ResourceLimits()
        limits.CopyFrom(config.resource_limits)
        if not limits.max_number_of_training_jobs:
            limits.max_number_of_training_jobs = self.spec(stored).max_training_jobs
        return tuning_job_pb2.HyperParameterTuningJobSummary(
            hyper_parameter_tuning_job_name=stored.request.hyper_parameter_tuning_job_name,
            hyper_parameter_tuning_job_arn=stored.arn,
            hyper_parameter_tuning_job_status=views.TUNING_STATUS_VALUES[job.status],
            strategy=config.strategy,
            creation_time=views.timestamp(job.created_at),
            hyper_parameter_tuning_end_time=views.timestamp(job.ended_at),
            last_modified_time=views.timestamp(job.modified_at),
            training_job_status_counters=views.status_counters(job.counters, stored.in_progress),
            objective_status_counters=views.objective_counters(job.counters, stored.in_progress),
            resource_limits=limits,
        )

    def training_job_of_tuning_job(
        self, stored: StoredTrial
    ) -> tuning_job_pb2.HyperParameterTrainingJobSummary:
        """Write a training job as its tuning job's list shows it."""
        return self._summary(stored.trial, stored.job)

    def training_job_summary(self, stored: StoredTrial) -> training_job_pb2.TrainingJobSummary:
        """Write a training job as ListTrainingJobs shows it."""
        trial = stored.trial
        return training_job_pb2.TrainingJobSummary(
            training_job_name=trial.name,
            training_job_arn=self._account.training_job_arn(trial.name),
            creation_time=views.timestamp(trial.created_at),
            training_end_time=views.timestamp(trial.ended_at),
            last_modified_time=views.timestamp(trial.modified_at),
            training_job_status=views.TRAINING_STATUS_VALUES[trial.status],
            secondary_status=views.SECONDARY_STATUS_VALUES[trial.secondary_status],
        )

    def training_job(
        self, stored: StoredTrial
    ) -> training_job_operations_pb2.DescribeTrainingJobResponse:
        """Write a training job as DescribeTrainingJob shows it."""
        trial, spec = stored.trial, self.spec(stored.job)
        definition = definition_pb.HyperParameterTrainingJobDefinition()
        definition.CopyFrom(message_of(spec, trial))
        if spec.lease_terms is None:
            filled_definition(definition, spec.definition_of(trial), self._account, self._site)
        # SageMaker's SDK reads this member unasked: it is shown, empty, where it was not given.
        definition.output_data_config.kms_key_id = definition.output_data_config.kms_key_id
        answer = training_job_operations_pb2.DescribeTrainingJobResponse(
            training_job_name=trial.name,
            training_job_arn=self._account.training_job_arn(trial.name),
            tuning_job_arn=stored.job.arn,
            model_artifacts=training_job_pb2.ModelArtifacts(
                s3_model_artifacts=trial.model_artifacts_uri
            ),
            training_job_status=views.TRAINING_STATUS_VALUES[trial.status],
            secondary_status=views.SECONDARY_STATUS_VALUES[trial.secondary_status],
            failure_reason=trial.failure_reason,
            objective_failure_reason=trial.objective_failure_reason,
            stopping_verdict=(
                None if trial.verdict is None else views.stopping_verdict(trial.verdict)
            ),
            training_job_definition_name=trial.definition_name or "",
            hyper_parameters=hyper_parameters(spec, trial),
            algorithm_specification=self._algorithm(definition),
            role_arn=definition.role_arn,
            input_data_config=definition.input_data_config,
            output_data_config=definition.output_data_config,
            resource_config=definition.resource_config,
            stopping_condition=definition.stopping_condition,
            creation_time=views.timestamp(trial.created_at),
            training_start_time=views.timestamp(
                trial.last_started_at if trial.ended_at else trial.training_started_at
            ),
            training_end_time=views.timestamp(trial.ended_at),
            last_modified_time=views.timestamp(trial.modified_at),
            secondary_status_transitions=_transitions(trial),
            final_metric_data_list=_final_metrics(trial),
            enable_network_isolation=definition.enable_network_isolation,
            enable_inter_container_traffic_encryption=(
                definition.enable_inter_container_traffic_encryption
            ),
            enable_managed_spot_training=definition.enable_managed_spot_training,
            environment=definition.environment,
            retry_strategy=(
                definition.retry_strategy if definition.HasField("retry_strategy") else None
            ),
            checkpoint_config=(
                definition.checkpoint_config if definition.HasField("checkpoint_config") else None
            ),
        )
        if trial.last_started_at is not None and trial.ended_at is not None:
            spent = trial.runtime(trial.ended_at).total_seconds()
            answer.training_time_in_seconds = max(1, math.ceil(spent))
            answer.billable_time_in_seconds = answer.training_time_in_seconds
        return answer

    def _algorithm(
        self, definition: definition_pb.HyperParameterTrainingJobDefinition
    ) -> definition_pb.AlgorithmSpecification:
        asked = definition.algorithm_specification
        return definition_pb.AlgorithmSpecification(
            training_image=asked.training_image if asked.HasField("training_image") else None,
            algorithm_name=asked.algorithm_name,
            training_input_mode=asked.training_input_mode,
            metric_definitions=asked.metric_definitions,
            container_entrypoint=asked.container_entrypoint,
            container_arguments=asked.container_arguments,
        )

    def _summary(
        self, trial: Trial, stored: StoredJob
    ) -> tuning_job_pb2.HyperParameterTrainingJobSummary:
        return views.training_job_summary(
            trial,
            tuning_job_name=stored.request.hyper_parameter_tuning_job_name,
            arn=self._account.training_job_arn(trial.name),
            metric_name=metric_name_of(stored.request, trial.definition_name),
        )


def _transitions(trial: Trial) -> list[training_job_pb2.SecondaryStatusTransition]:
    return [
        training_job_pb2.SecondaryStatusTransition(
            status=views.SECONDARY_STATUS_VALUES[SecondaryStatus(transition.status)],
            start_time=views.timestamp(transition.started_at),
            end_time=views.timestamp(transition.ended_at),
            status_message=transition.message,
        )
        for transition in trial.transitions
    ]


def _final_metrics(trial: Trial) -> list[training_job_pb2.MetricData]:
    return [
        training_job_pb2.MetricData(
            metric_name=name,
            value=measurement.value,
            timestamp=views.timestamp(measurement.measured_at),
        )
        for name, measurement in sorted(trial.metrics.items())
    ]
