-- What a tuning job has met when it is decided that it completes, and how far it is from its criteria.
ALTER TABLE tuning_jobs ADD COLUMN closing_criterion TEXT CHECK (
    closing_criterion IS NULL OR closing_status = 'Completed'
);
ALTER TABLE tuning_jobs ADD COLUMN not_improving INTEGER NOT NULL DEFAULT 0 CHECK (not_improving >= 0);
