-- name: insert_events
-- Add events; their numbers are the next ones. changes.py fills in the rows' places.
INSERT INTO events (job_id, training_job_id, kind, payload)
VALUES {rows}

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
