-- How often a training job was started again after a failure, and how long the attempts before ran.
ALTER TABLE training_jobs ADD COLUMN retries INTEGER NOT NULL DEFAULT 0 CHECK (retries >= 0);
ALTER TABLE training_jobs ADD COLUMN spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0);  -- in microseconds
