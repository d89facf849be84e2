-- name: resource_arn
-- Find the tuning job or training job with an ARN.
SELECT arn FROM tuning_jobs WHERE arn = :arn AND deleted_at IS NULL
UNION ALL
SELECT arn FROM training_jobs WHERE arn = :arn AND deleted_at IS NULL

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
-- Give training jobs the tags that their tuning jobs have now; database.py fills in the rows.
INSERT INTO tags (arn, key, value)
SELECT trial.arn, tag.key, tag.value
FROM (VALUES {rows}) AS new
CROSS JOIN training_jobs AS trial ON trial.name = new.column1
CROSS JOIN tuning_jobs AS job ON job.job_id = trial.job_id
CROSS JOIN tags AS tag ON tag.arn = job.arn
