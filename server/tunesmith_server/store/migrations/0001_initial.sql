-- The first schema.
--
-- Times are microseconds since 1970-01-01T00:00:00Z. Statuses are spelt as SageMaker spells them.
-- Names compare without regard to the case of ASCII letters, and are kept as they were written.

-- One row per tuning job. A deleted one is hidden and gives its name free: its training jobs stay.
CREATE TABLE tuning_jobs (
    job_id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again
    name TEXT NOT NULL COLLATE NOCASE CHECK (name <> ''),
    arn TEXT NOT NULL COLLATE NOCASE CHECK (arn <> ''),
    request BLOB NOT NULL,  -- the CreateHyperParameterTuningJobRequest that was accepted
    seed INTEGER NOT NULL CHECK (seed >= 0),
    version INTEGER NOT NULL CHECK (version >= 0),  -- rises by one with each change
    status TEXT NOT NULL
        CHECK (status IN ('InProgress', 'Completed', 'Failed', 'Stopping', 'Stopped')),
    created_at INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    ended_at INTEGER,
    deleted_at INTEGER,
    failure_reason TEXT,
    launched INTEGER NOT NULL DEFAULT 0 CHECK (launched >= 0),
    exhausted INTEGER NOT NULL DEFAULT 0 CHECK (exhausted IN (0, 1)),
    closing_status TEXT CHECK (closing_status IN ('Completed', 'Failed', 'Stopped')),
    closing_reason TEXT,
    -- Ended training jobs.
    completed INTEGER NOT NULL DEFAULT 0 CHECK (completed >= 0),
    stopped INTEGER NOT NULL DEFAULT 0 CHECK (stopped >= 0),
    retryable_error INTEGER NOT NULL DEFAULT 0 CHECK (retryable_error >= 0),
    non_retryable_error INTEGER NOT NULL DEFAULT 0 CHECK (non_retryable_error >= 0),
    objective_succeeded INTEGER NOT NULL DEFAULT 0 CHECK (objective_succeeded >= 0),
    objective_failed INTEGER NOT NULL DEFAULT 0 CHECK (objective_failed >= 0),
    best_training_job_name TEXT REFERENCES training_jobs (name),
    CHECK ((status IN ('Completed', 'Failed', 'Stopped')) = (ended_at IS NOT NULL)),
    CHECK ((status = 'Failed') = (failure_reason IS NOT NULL)),
    CHECK (closing_reason IS NULL OR closing_status IS NOT NULL)
) STRICT;

CREATE UNIQUE INDEX tuning_jobs_by_name ON tuning_jobs (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX tuning_jobs_by_arn ON tuning_jobs (arn) WHERE deleted_at IS NULL;
CREATE INDEX tuning_jobs_by_status ON tuning_jobs (status, name) WHERE deleted_at IS NULL;
CREATE INDEX tuning_jobs_by_creation ON tuning_jobs (created_at, name) WHERE deleted_at IS NULL;
CREATE INDEX tuning_jobs_open ON tuning_jobs (created_at, job_id) WHERE ended_at IS NULL;

-- One row per training job. Launch order, configuration and creation time are written once; an
-- ended one is never changed again.
CREATE TABLE training_jobs (
    training_job_id INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES tuning_jobs (job_id),
    name TEXT NOT NULL UNIQUE COLLATE NOCASE CHECK (name <> ''),
    arn TEXT NOT NULL UNIQUE COLLATE NOCASE,
    launch_index INTEGER NOT NULL CHECK (launch_index >= 1),
    definition_name TEXT,
    parameters TEXT NOT NULL CHECK (json_type(parameters) = 'object'),  -- {name: value}
    status TEXT NOT NULL
        CHECK (status IN ('InProgress', 'Completed', 'Failed', 'Stopping', 'Stopped')),
    secondary_status TEXT NOT NULL CHECK (secondary_status IN (
        'Pending', 'Starting', 'Downloading', 'Training', 'Interrupted', 'Uploading', 'Stopping',
        'Stopped', 'MaxRuntimeExceeded', 'Completed', 'Failed'
    )),
    objective_status TEXT NOT NULL CHECK (objective_status IN ('Pending', 'Succeeded', 'Failed')),
    created_at INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    training_started_at INTEGER,
    ended_at INTEGER,
    transitions TEXT NOT NULL,  -- JSON: [[status, started_at, ended_at or null, message], ...]
    metrics TEXT NOT NULL,  -- JSON, latest values: {name: [value, step, measured_at]}
    lease_token INTEGER NOT NULL CHECK (lease_token >= 0),
    lease_runner_name TEXT,
    lease_instance_id TEXT,
    reported_sequence INTEGER NOT NULL CHECK (reported_sequence >= 0),
    stop_requested INTEGER NOT NULL CHECK (stop_requested IN (0, 1)),
    objective_value REAL CHECK (abs(objective_value) <= 1.7976931348623157e308),
    failure_kind TEXT CHECK (failure_kind IN ('Retryable', 'NonRetryable')),
    failure_reason TEXT,
    model_artifacts_uri TEXT NOT NULL,
    UNIQUE (job_id, launch_index),
    CHECK ((status IN ('Completed', 'Failed', 'Stopped')) = (ended_at IS NOT NULL)),
    CHECK ((status = 'Failed') = (failure_kind IS NOT NULL)),
    CHECK ((failure_kind IS NULL) = (failure_reason IS NULL)),
    CHECK ((objective_status = 'Succeeded') = (objective_value IS NOT NULL)),
    CHECK ((lease_runner_name IS NULL) = (lease_instance_id IS NULL))
) STRICT;

CREATE INDEX training_jobs_open ON training_jobs (job_id, launch_index) WHERE ended_at IS NULL;
CREATE INDEX training_jobs_by_status ON training_jobs (status, name);
CREATE INDEX training_jobs_by_creation ON training_jobs (created_at, name);

-- Every value of every metric, once per report of a lease.
CREATE TABLE measurements (
    training_job_id INTEGER NOT NULL REFERENCES training_jobs (training_job_id),
    lease_token INTEGER NOT NULL CHECK (lease_token >= 0),
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    metric_name TEXT NOT NULL,
    step INTEGER NOT NULL CHECK (step >= 0),
    value REAL,  -- NULL is NaN, which SQLite has no other way to hold; infinities are themselves
    measured_at INTEGER NOT NULL,
    PRIMARY KEY (training_job_id, lease_token, sequence)
) STRICT, WITHOUT ROWID;

-- What watchers are told, in the order in which it became durable.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES tuning_jobs (job_id),
    training_job_id INTEGER REFERENCES training_jobs (training_job_id),
    kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3, 4)),  -- a WatchEventKind
    payload BLOB NOT NULL  -- a WatchHyperParameterTuningJobResponse without its sequence
) STRICT;

CREATE INDEX events_of_job ON events (job_id, kind, sequence);
CREATE INDEX events_of_training_job ON events (training_job_id, kind, sequence)
    WHERE training_job_id IS NOT NULL;

-- Tags of tuning jobs that are not deleted, and of training jobs.
CREATE TABLE tags (
    arn TEXT NOT NULL COLLATE NOCASE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (arn, key)
) STRICT, WITHOUT ROWID;

-- What was done under each idempotency key.
CREATE TABLE requests (
    request_id TEXT PRIMARY KEY,
    operation TEXT NOT NULL,
    resource TEXT NOT NULL,
    job_id INTEGER NOT NULL REFERENCES tuning_jobs (job_id),
    digest BLOB,  -- of the request, where a repeat is compared with it
    requested_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
