-- When it was detected that a tuning job's search has converged.
ALTER TABLE tuning_jobs ADD COLUMN converged_at INTEGER;
