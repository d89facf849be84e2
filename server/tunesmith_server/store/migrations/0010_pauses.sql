-- Whether a training job is to come to rest at a rung, or has: then it is Interrupted.
ALTER TABLE training_jobs ADD COLUMN pause_requested INTEGER NOT NULL DEFAULT 0
    CHECK (pause_requested IN (0, 1));
