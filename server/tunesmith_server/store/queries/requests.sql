-- name: insert_request
-- Note what is done under an idempotency key, unless it was used before.
INSERT INTO requests (request_id, operation, resource, job_id, digest, requested_at)
VALUES (:request_id, :operation, :resource, :job_id, :digest, :requested_at)
ON CONFLICT DO NOTHING

-- name: request
-- Read what was done under an idempotency key.
SELECT operation, resource, job_id, digest FROM requests WHERE request_id = :request_id
