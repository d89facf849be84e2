-- When a training job was deleted. A deleted one is hidden; its name is never free, and what its tuning
-- job counts, shows as its best and learns from stays.
ALTER TABLE training_jobs ADD COLUMN deleted_at INTEGER CHECK (
    deleted_at IS NULL OR ended_at IS NOT NULL
);
