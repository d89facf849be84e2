-- The tuning jobs whose results a tuning job starts with, in the order of its request. By number:
-- a parent that is deleted later, and whose name is used again, stays the parent.
CREATE TABLE warm_start_parents (
    job_id INTEGER NOT NULL REFERENCES tuning_jobs (job_id),
    position INTEGER NOT NULL CHECK (position >= 0),
    parent_job_id INTEGER NOT NULL REFERENCES tuning_jobs (job_id),
    PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;
