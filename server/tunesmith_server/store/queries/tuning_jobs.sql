-- name: insert_job
-- Write a new tuning job, unless its name or its ARN is taken.
INSERT INTO tuning_jobs (name, arn, request, seed, version, status, created_at, modified_at)
VALUES (:name, :arn, :request, :seed, 0, 'InProgress', :created_at, :created_at)
ON CONFLICT DO NOTHING
RETURNING job_id

-- name: update_jobs
-- Apply changes to tuning jobs that are on the version before; database.py fills in the rows.
UPDATE tuning_jobs
SET version = new.version,
    modified_at = new.modified_at,
    launched = new.launched,
    exhausted = new.exhausted,
    completed = new.completed,
    stopped = new.stopped,
    retryable_error = new.retryable_error,
    non_retryable_error = new.non_retryable_error,
    objective_succeeded = new.objective_succeeded,
    objective_failed = new.objective_failed,
    best_training_job_name = new.best_training_job_name,
    not_improving = new.not_improving,
    converged_at = new.converged_at
FROM (
    SELECT
        column1 AS job_id, column2 AS version, column3 AS modified_at, column4 AS launched,
        column5 AS exhausted, column6 AS completed, column7 AS stopped,
        column8 AS retryable_error, column9 AS non_retryable_error,
        column10 AS objective_succeeded, column11 AS objective_failed,
        column12 AS best_training_job_name, column13 AS not_improving,
        column14 AS converged_at
    FROM (VALUES {rows})
) AS new
WHERE
    tuning_jobs.job_id = new.job_id
    AND tuning_jobs.version = new.version - 1
    AND tuning_jobs.deleted_at IS NULL

-- name: move_jobs
-- Write how tuning jobs stand and end where that has changed: what is left alone costs no index.
UPDATE tuning_jobs
SET status = new.status,
    ended_at = new.ended_at,
    failure_reason = new.failure_reason,
    closing_status = new.closing_status,
    closing_reason = new.closing_reason,
    closing_criterion = new.closing_criterion
FROM (
    SELECT
        column1 AS job_id, column2 AS status, column3 AS ended_at, column4 AS failure_reason,
        column5 AS closing_status, column6 AS closing_reason, column7 AS closing_criterion
    FROM (VALUES {rows})
) AS new
WHERE
    tuning_jobs.job_id = new.job_id
    AND (
        tuning_jobs.status <> new.status
        OR tuning_jobs.ended_at IS NOT new.ended_at
        OR tuning_jobs.failure_reason IS NOT new.failure_reason
        OR tuning_jobs.closing_status IS NOT new.closing_status
        OR tuning_jobs.closing_reason IS NOT new.closing_reason
        OR tuning_jobs.closing_criterion IS NOT new.closing_criterion
    )

-- name: delete_job
-- Hide a tuning job that is not hidden yet.
UPDATE tuning_jobs
SET deleted_at = :deleted_at
WHERE job_id = :job_id AND deleted_at IS NULL
RETURNING name, arn

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
    {moved}
ORDER BY {key} {direction}, job.name {direction}
LIMIT :limit

-- name: insert_parent
-- Write that a tuning job starts with another one's results.
INSERT INTO warm_start_parents (job_id, position, parent_job_id)
VALUES (:job_id, :position, :parent_job_id)

-- name: parents
-- Read the tuning jobs that a tuning job starts with, deleted ones too, in the request's order.
SELECT
    job.*,
    (
        SELECT count(*) FROM training_jobs AS trial
        WHERE trial.job_id = job.job_id AND trial.ended_at IS NULL
    ) AS in_progress
FROM warm_start_parents AS parent
JOIN tuning_jobs AS job ON job.job_id = parent.parent_job_id
WHERE parent.job_id = :job_id
ORDER BY parent.position
