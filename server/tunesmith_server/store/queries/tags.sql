-- name: resource_arn
-- Find the tuning job or training job with an ARN.
SELECT arn FROM tuning_jobs WHERE arn = :arn AND deleted_at IS NULL
UNION ALL
SELECT arn FROM training_jobs WHERE arn = :arn

-- name: tags
-- Read a resource's tags.
SELECT key, value FROM tags WHERE arn = :arn ORDER BY key

-- name: put_tag
-- Add or overwrite a tag.
INSERT INTO tags (arn, key, value) VALUES (:arn, :key, :value)
ON CONFLICT DO UPDATE SET value = excluded.value

-- name: delete_tag
-- Remove a tag, if it is there.
DELETE FROM tags WHERE arn = :arn AND key = :key

-- name: delete_all_tags
-- Remove a resource's tags.
DELETE FROM tags WHERE arn = :arn

-- name: inherit_tags
-- Give a training job the tags that its tuning job has now.
INSERT INTO tags (arn, key, value)
SELECT trial.arn, tag.key, tag.value
FROM training_jobs AS trial
JOIN tuning_jobs AS job USING (job_id)
JOIN tags AS tag ON tag.arn = job.arn
WHERE trial.training_job_id = :training_job_id
