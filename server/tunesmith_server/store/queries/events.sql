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

-- name: last_sequence
-- Tell which event is the latest; NULL: there is none.
SELECT max(sequence) AS sequence FROM events

-- name: trials_moved_since
-- Find the training jobs of which something was announced after an event, each with what had been
-- announced of it last until then; NULL: nothing, as it was launched later.
SELECT
    event.training_job_id AS id,
    (
        SELECT before.payload FROM events AS before
        WHERE
            before.training_job_id = event.training_job_id
            AND before.kind = 2 AND before.sequence <= :as_of
        ORDER BY before.sequence DESC
        LIMIT 1
    ) AS payload
FROM events AS event
WHERE
    event.sequence > :as_of AND event.kind = 2
    AND (:job_id IS NULL OR event.job_id = :job_id)
GROUP BY event.training_job_id

-- name: jobs_moved_since
-- Find the tuning jobs of which something was announced after an event; as above.
SELECT
    event.job_id AS id,
    (
        SELECT before.payload FROM events AS before
        WHERE before.job_id = event.job_id AND before.kind = 1 AND before.sequence <= :as_of
        ORDER BY before.sequence DESC
        LIMIT 1
    ) AS payload
FROM events AS event
WHERE event.sequence > :as_of AND event.kind = 1
GROUP BY event.job_id
