-- name: insert_event
-- Add an event; its number is the next one.
INSERT INTO events (job_id, training_job_id, payload)
VALUES (:job_id, :training_job_id, :payload)

-- name: events_of_job
-- Read a tuning job's events above a sequence.
SELECT sequence, payload FROM events
WHERE job_id = :job_id AND sequence > :after
ORDER BY sequence
LIMIT :limit

-- name: events_of_trial
-- Read the events about one of a tuning job's training jobs above a sequence.
SELECT event.sequence, event.payload
FROM events AS event
JOIN training_jobs AS trial USING (training_job_id)
WHERE trial.name = :name AND trial.job_id = :job_id AND event.sequence > :after
ORDER BY event.sequence
LIMIT :limit
