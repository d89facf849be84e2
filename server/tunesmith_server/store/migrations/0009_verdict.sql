-- What a training job was stopped early by, or is paused, as JSON: {rule, resource, value, rung, rank,
-- entries, threshold}; NULL also for those that an earlier version stopped.
ALTER TABLE training_jobs ADD COLUMN verdict TEXT;
