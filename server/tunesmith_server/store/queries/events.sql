-- name: insert_events
-- Add events in order; their numbers are the next ones. An event about a training job that its
-- tuning job has not is left out, as are rows of NULL. database.py fills in the rows.
INSERT INTO events (job_id, training_job_id, kind, payload)
SELECT new.column1, trial.training_job_id, new.column3, new.column4
FROM (VALUES {rows}) AS new
LEFT JOIN training_jobs AS trial ON trial.name = new.column2 AND trial.job_id = new.column1
WHERE
    new.column1 IS NOT NULL
    AND (new.column2 IS NULL OR trial.training_job_id IS NOT NULL)
ORDER BY new.column5

-- name: events_of_job
-- Read a tuning job's events above a sequence: one run of the index for each kind, merged.
-- A kind that is not wanted is NULL, which equals nothing.
SELECT sequence, payload FROM events
WHERE job_id = :job_id AND kind = :tuning_job AND sequence > :after
UNION ALL
SELECT sequence, payload FROM events
WHERE job_id = :job_id AND kind = :training_job AND sequence > :after
UNION ALL
SELECT sequence, payload FROM events
WHERE job_id = :job_id AND kind = :metric AND sequence > :after
UNION ALL
SELECT sequence, payload FROM events
WHERE job_id = :job_id AND kind = :log AND sequence > :after
ORDER BY sequence
LIMIT :limit

-- name: events_of_trial
-- Read the events about one training job, and its tuning job's own, above a sequence; as above.
SELECT sequence, payload FROM events
WHERE job_id = :job_id AND kind = :tuning_job AND sequence > :after
UNION ALL
SELECT sequence, payload FROM events
WHERE training_job_id = :training_job_id AND kind = :training_job AND sequence > :after
UNION ALL
SELECT sequence, payload FROM events
WHERE training_job_id = :training_job_id AND kind = :metric AND sequence > :after
UNION ALL
SELECT sequence, payload FROM events
WHERE training_job_id = :training_job_id AND kind = :log AND sequence > :after
ORDER BY sequence
LIMIT :limit
