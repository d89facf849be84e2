-- name: insert_request
-- Note what is done under an idempotency key, unless it was used before.
INSERT INTO requests (request_id, operation, resource, job_id, digest, requested_at)
VALUES (:request_id, :operation, :resource, :job_id, :digest, :requested_at)
ON CONFLICT DO NOTHING

-- name: insert_commit_request
-- Note that a tuning job is changed under an idempotency key, unless that was used before.
INSERT INTO requests (request_id, operation, resource, job_id, digest, requested_at)
SELECT :request_id, :operation, job.name, job.job_id, NULL, :requested_at
FROM tuning_jobs AS job
WHERE job.job_id = :job_id
ON CONFLICT DO NOTHING

-- name: request
-- Read what was done under an idempotency key.
SELECT operation, resource, job_id, digest FROM requests WHERE request_id = :request_id
