-- name: insert_trial
-- Write a new training job; its ARN is its tuning job's with another resource.
INSERT INTO training_jobs (
    job_id, name, arn, launch_index, definition_name, parameters, status, secondary_status,
    objective_status, created_at, modified_at, training_started_at, ended_at, transitions, metrics,
    lease_token, lease_runner_name, lease_instance_id, reported_sequence, stop_requested,
    objective_value, failure_kind, failure_reason, model_artifacts_uri, completion_id
)
SELECT
    job.job_id,
    :name,
    substr(job.arn, 1, instr(job.arn, ':' || :job_resource || '/'))
        || :trial_resource || '/' || lower(:name),
    :launch_index, :definition_name, :parameters, :status, :secondary_status, :objective_status,
    :created_at, :modified_at, :training_started_at, :ended_at, :transitions, :metrics,
    :lease_token, :lease_runner_name, :lease_instance_id, :reported_sequence, :stop_requested,
    :objective_value, :failure_kind, :failure_reason, :model_artifacts_uri, :completion_id
FROM tuning_jobs AS job
WHERE job.job_id = :job_id
RETURNING training_job_id

-- name: update_trial
-- Write a training job's new state, unless it has ended.
UPDATE training_jobs
SET status = :status,
    secondary_status = :secondary_status,
    objective_status = :objective_status,
    modified_at = :modified_at,
    training_started_at = :training_started_at,
    ended_at = :ended_at,
    transitions = :transitions,
    metrics = :metrics,
    lease_token = :lease_token,
    lease_runner_name = :lease_runner_name,
    lease_instance_id = :lease_instance_id,
    reported_sequence = :reported_sequence,
    stop_requested = :stop_requested,
    objective_value = :objective_value,
    failure_kind = :failure_kind,
    failure_reason = :failure_reason,
    model_artifacts_uri = :model_artifacts_uri,
    completion_id = :completion_id
WHERE name = :name AND job_id = :job_id AND ended_at IS NULL
RETURNING training_job_id

-- name: trial_id
-- Find the row of one of a tuning job's training jobs.
SELECT training_job_id FROM training_jobs WHERE name = :name AND job_id = :job_id

-- name: trial_by_name
-- Read a training job.
SELECT * FROM training_jobs WHERE name = :name

-- name: open_trials
-- Read a tuning job's training jobs that have not ended, in launch order.
SELECT * FROM training_jobs
WHERE job_id = :job_id AND ended_at IS NULL
ORDER BY launch_index

-- name: outcomes
-- Read what has become of a tuning job's training jobs from a launch index on, in launch order.
SELECT launch_index, parameters, status, failure_kind, objective_value, modified_at
FROM training_jobs
WHERE job_id = :job_id AND launch_index >= :first_index
ORDER BY launch_index

-- name: list_trials
-- Read a page of all training jobs; listing.py fills in key, direction and what follows.
-- The plus signs keep times from choosing the index: the page's start is what narrows it down.
SELECT trial.*, {key} AS sort_key
FROM training_jobs AS trial
WHERE
    ({key}, trial.name) {beyond} (:after_key, :after_name)
    AND instr(lower(trial.name), lower(:name_contains)) > 0
    AND (:status IS NULL OR trial.status = :status)
    AND +trial.created_at > :created_after AND +trial.created_at < :created_before
    AND +trial.modified_at > :modified_after AND +trial.modified_at < :modified_before
ORDER BY {key} {direction}, trial.name {direction}
LIMIT :limit

-- name: list_trials_of_job
-- Read a page of one tuning job's training jobs; listing.py fills in the same.
SELECT trial.*, {key} AS sort_key
FROM training_jobs AS trial
WHERE
    trial.job_id = :job_id
    AND ({key}, trial.name) {beyond} (:after_key, :after_name)
    AND instr(lower(trial.name), lower(:name_contains)) > 0
    AND (:status IS NULL OR trial.status = :status)
    AND +trial.created_at > :created_after AND +trial.created_at < :created_before
    AND +trial.modified_at > :modified_after AND +trial.modified_at < :modified_before
ORDER BY {key} {direction}, trial.name {direction}
LIMIT :limit

-- name: insert_measurements
-- Add values of metrics. changes.py fills in the rows' places.
INSERT INTO measurements (
    training_job_id, lease_token, sequence, metric_name, step, value, measured_at
)
VALUES {rows}

-- name: drop_measurements
-- Forget all that a training job measured.
DELETE FROM measurements WHERE training_job_id = :training_job_id

-- name: measurements
-- Read all that a training job measured, in the order in which it was reported.
SELECT m.metric_name, m.step, m.value, m.measured_at
FROM measurements AS m
JOIN training_jobs AS trial USING (training_job_id)
WHERE trial.name = :name
ORDER BY m.lease_token, m.sequence
