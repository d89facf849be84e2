-- name: insert_job
-- Write a new tuning job, unless its name or its ARN is taken.
INSERT INTO tuning_jobs (name, arn, request, seed, version, status, created_at, modified_at)
VALUES (:name, :arn, :request, :seed, 0, 'InProgress', :created_at, :created_at)
ON CONFLICT DO NOTHING
RETURNING job_id

-- name: update_job
-- Apply a change to a tuning job that is on the version before it.
UPDATE tuning_jobs
SET version = :version,
    status = :status,
    modified_at = :modified_at,
    ended_at = :ended_at,
    failure_reason = :failure_reason,
    launched = :launched,
    exhausted = :exhausted,
    closing_status = :closing_status,
    closing_reason = :closing_reason,
    completed = :completed,
    stopped = :stopped,
    retryable_error = :retryable_error,
    non_retryable_error = :non_retryable_error,
    objective_succeeded = :objective_succeeded,
    objective_failed = :objective_failed
WHERE job_id = :job_id AND version = :version - 1 AND deleted_at IS NULL
RETURNING name

-- name: set_best
-- Point a tuning job at its best training job, which must be written by then.
UPDATE tuning_jobs
SET best_training_job_name = :best
WHERE job_id = :job_id AND best_training_job_name IS NOT :best

-- name: delete_job
-- Hide a tuning job that is not hidden yet.
UPDATE tuning_jobs
SET deleted_at = :deleted_at
WHERE job_id = :job_id AND deleted_at IS NULL
RETURNING arn

-- name: job_by_name
-- Read the tuning job that bears a name now.
SELECT
    job.*,
    (
        SELECT count(*) FROM training_jobs AS trial
        WHERE trial.job_id = job.job_id AND trial.ended_at IS NULL
    ) AS in_progress
FROM tuning_jobs AS job
WHERE job.name = :name AND job.deleted_at IS NULL

-- name: job_by_id
-- Read a tuning job, also a deleted one.
SELECT
    job.*,
    (
        SELECT count(*) FROM training_jobs AS trial
        WHERE trial.job_id = job.job_id AND trial.ended_at IS NULL
    ) AS in_progress
FROM tuning_jobs AS job
WHERE job.job_id = :job_id

-- name: open_jobs
-- Read the tuning jobs that have not ended, oldest first.
SELECT
    job.*,
    (
        SELECT count(*) FROM training_jobs AS trial
        WHERE trial.job_id = job.job_id AND trial.ended_at IS NULL
    ) AS in_progress
FROM tuning_jobs AS job
WHERE job.ended_at IS NULL AND job.deleted_at IS NULL
ORDER BY job.created_at, job.job_id

-- name: list_jobs
-- Read a page of tuning jobs; listing.py fills in the sort key, the direction and what follows.
-- The plus signs keep times from choosing the index: the page's start is what narrows it down.
SELECT
    job.*,
    {key} AS sort_key,
    (
        SELECT count(*) FROM training_jobs AS trial
        WHERE trial.job_id = job.job_id AND trial.ended_at IS NULL
    ) AS in_progress
FROM tuning_jobs AS job
WHERE
    job.deleted_at IS NULL
    AND ({key}, job.name) {beyond} (:after_key, :after_name)
    AND instr(lower(job.name), lower(:name_contains)) > 0
    AND (:status IS NULL OR job.status = :status)
    AND +job.created_at > :created_after AND +job.created_at < :created_before
    AND +job.modified_at > :modified_after AND +job.modified_at < :modified_before
ORDER BY {key} {direction}, job.name {direction}
LIMIT :limit
