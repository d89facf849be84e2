-- The idempotency key of the call by which a caller ended the trial that it ran, if it had one.
ALTER TABLE training_jobs ADD COLUMN completion_id TEXT;
