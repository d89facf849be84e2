-- Why a training job ended without an objective; NULL also for those that ended before this version.
ALTER TABLE training_jobs ADD COLUMN objective_failure_reason TEXT;
