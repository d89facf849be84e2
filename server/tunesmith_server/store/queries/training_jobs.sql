-- name: insert_trials
-- Write new training jobs; the ARN of one is its tuning job's with another resource. database.py
-- fills in the rows.
INSERT INTO training_jobs (
    job_id, name, status, secondary_status, objective_status, modified_at, training_started_at,
    ended_at, transitions, metrics, lease_token, lease_runner_name, lease_instance_id,
    reported_sequence, stop_requested, objective_value, failure_kind, failure_reason,
    model_artifacts_uri, completion_id, retries, spent, objective_failure_reason, verdict,
    pause_requested, launch_index, definition_name, parameters, created_at, arn
)
SELECT
    new.column1, new.column2, new.column3, new.column4, new.column5, new.column6, new.column7,
    new.column8, new.column9, new.column10, new.column11, new.column12, new.column13,
    new.column14, new.column15, new.column16, new.column17, new.column18, new.column19,
    new.column20, new.column21, new.column22, new.column23, new.column24, new.column25,
    new.column26, new.column27, new.column28, new.column29,
    substr(job.arn, 1, instr(job.arn, new.column30) - 1) || new.column31 || lower(new.column2)
FROM (VALUES {rows}) AS new
CROSS JOIN tuning_jobs AS job ON job.job_id = new.column1

-- name: update_trials
-- Write training jobs' new states, of those that have not ended; database.py fills in the rows.
UPDATE training_jobs
SET status = new.status,
    secondary_status = new.secondary_status,
    objective_status = new.objective_status,
    modified_at = new.modified_at,
    training_started_at = new.training_started_at,
    ended_at = new.ended_at,
    transitions = new.transitions,
    metrics = new.metrics,
    lease_token = new.lease_token,
    lease_runner_name = new.lease_runner_name,
    lease_instance_id = new.lease_instance_id,
    reported_sequence = new.reported_sequence,
    stop_requested = new.stop_requested,
    objective_value = new.objective_value,
    failure_kind = new.failure_kind,
    failure_reason = new.failure_reason,
    model_artifacts_uri = new.model_artifacts_uri,
    completion_id = new.completion_id,
    retries = new.retries,
    spent = new.spent,
    objective_failure_reason = new.objective_failure_reason,
    verdict = new.verdict,
    pause_requested = new.pause_requested
FROM (
    SELECT
        column1 AS job_id, column2 AS name, column3 AS status, column4 AS secondary_status,
        column5 AS objective_status, column6 AS modified_at, column7 AS training_started_at,
        column8 AS ended_at, column9 AS transitions, column10 AS metrics,
        column11 AS lease_token, column12 AS lease_runner_name, column13 AS lease_instance_id,
        column14 AS reported_sequence, column15 AS stop_requested, column16 AS objective_value,
        column17 AS failure_kind, column18 AS failure_reason, column19 AS model_artifacts_uri,
        column20 AS completion_id, column21 AS retries, column22 AS spent,
        column23 AS objective_failure_reason, column24 AS verdict,
        column25 AS pause_requested
    FROM (VALUES {rows})
) AS new
WHERE
    training_jobs.name = new.name
    AND training_jobs.job_id = new.job_id
    AND training_jobs.ended_at IS NULL

-- name: trial_id
-- Find the row of one of a tuning job's training jobs.
SELECT training_job_id FROM training_jobs
WHERE name = :name AND job_id = :job_id AND deleted_at IS NULL

-- name: trial_by_name
-- Read a training job.
SELECT * FROM training_jobs WHERE name = :name AND deleted_at IS NULL

-- name: best_trial
-- Read a training job that is the best of its tuning job, also a deleted one.
SELECT * FROM training_jobs WHERE name = :name

-- name: delete_trial
-- Hide a training job that has ended and is not hidden yet.
UPDATE training_jobs
SET deleted_at = :deleted_at
WHERE name = :name AND ended_at IS NOT NULL AND deleted_at IS NULL
RETURNING name, arn, job_id

-- name: open_trials
-- Read a tuning job's training jobs that have not ended, in launch order.
SELECT * FROM training_jobs
WHERE job_id = :job_id AND ended_at IS NULL
ORDER BY launch_index

-- name: outcomes
-- Read what has become of a tuning job's training jobs from a launch index on, in launch order.
SELECT
    launch_index, definition_name, parameters, status, secondary_status, failure_kind, objective_value,
    modified_at
FROM training_jobs
WHERE job_id = :job_id AND launch_index >= :first_index
ORDER BY launch_index

-- name: list_trials
-- Read a page of all training jobs; listing.py fills in key, direction and what follows.
-- The plus signs keep times from choosing the index: the page's start is what narrows it down.
SELECT trial.*, {key} AS sort_key
FROM training_jobs AS trial
WHERE
    trial.deleted_at IS NULL
    AND ({key}, trial.name) {beyond} (:after_key, :after_name)
    AND instr(lower(trial.name), lower(:name_contains)) > 0
    AND (:status IS NULL OR trial.status = :status)
    AND +trial.created_at > :created_after AND +trial.created_at < :created_before
    AND +trial.modified_at > :modified_after AND +trial.modified_at < :modified_before
    {moved}
ORDER BY {key} {direction}, trial.name {direction}
LIMIT :limit

-- name: list_trials_of_job
-- Read a page of one tuning job's training jobs; listing.py fills in the same.
SELECT trial.*, {key} AS sort_key
FROM training_jobs AS trial
WHERE
    trial.job_id = :job_id
    AND trial.deleted_at IS NULL
    AND ({key}, trial.name) {beyond} (:after_key, :after_name)
    AND instr(lower(trial.name), lower(:name_contains)) > 0
    AND (:status IS NULL OR trial.status = :status)
    AND +trial.created_at > :created_after AND +trial.created_at < :created_before
    AND +trial.modified_at > :modified_after AND +trial.modified_at < :modified_before
    {moved}
ORDER BY {key} {direction}, trial.name {direction}
LIMIT :limit

-- name: insert_measurements
-- Add values of metrics; database.py fills in the rows.
INSERT INTO measurements (
    training_job_id, lease_token, sequence, metric_name, step, value, measured_at
)
SELECT
    trial.training_job_id, new.column3, new.column4, new.column5, new.column6, new.column7,
    new.column8
FROM (VALUES {rows}) AS new
CROSS JOIN training_jobs AS trial ON trial.name = new.column2 AND trial.job_id = new.column1

-- name: drop_measurements
-- Forget all that a training job measured.
DELETE FROM measurements WHERE training_job_id = :training_job_id

-- name: measurements
-- Read all that a training job measured, in the order in which it was reported.
SELECT m.metric_name, m.step, m.value, m.measured_at
FROM measurements AS m
JOIN training_jobs AS trial USING (training_job_id)
WHERE trial.name = :name AND trial.deleted_at IS NULL
ORDER BY m.lease_token, m.sequence

-- name: curves
-- Read what a tuning job's training jobs measured of a metric: the ended ones first, in the order of
-- their ends, each in the order in which it was reported. Of all of them, or of those with some
-- launch indices, a JSON array.
SELECT
    trial.name, trial.launch_index, trial.definition_name, trial.parameters, trial.status,
    m.lease_token, m.step, m.value, m.measured_at
FROM training_jobs AS trial
JOIN measurements AS m USING (training_job_id)
WHERE
    trial.job_id = :job_id AND m.metric_name = :metric_name
    AND (:indices IS NULL OR trial.launch_index IN (SELECT value FROM json_each(:indices)))
ORDER BY
    trial.ended_at IS NULL, trial.modified_at, trial.launch_index, m.lease_token, m.sequence
