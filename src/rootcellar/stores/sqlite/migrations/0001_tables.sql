-- name: version
-- The numbers of the migrations that ran.
CREATE TABLE {version} (version INTEGER NOT NULL PRIMARY KEY, applied_at TEXT NOT NULL) STRICT;

-- name: task
-- One row per task: all that is known about it. Times are ISO 8601 text in UTC, documents are JSON text, durations are
-- seconds.
CREATE TABLE {task} (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    state_order TEXT NOT NULL,
    updated_at TEXT,
    name TEXT,
    queue TEXT,
    routing_key TEXT,
    priority INTEGER,
    worker TEXT,
    pid INTEGER,
    attempt INTEGER NOT NULL,
    parent_id TEXT,
    root_id TEXT,
    group_id TEXT,
    origin TEXT,
    queued_at TEXT,
    eta TEXT,
    started_at TEXT,
    finished_at TEXT,
    expires_at TEXT,
    runtime REAL GENERATED ALWAYS AS ((
        (CAST(strftime('%s', substr(finished_at, 1, 19)) AS INTEGER) - strftime('%s', substr(started_at, 1, 19))) * 1000000
        + substr(finished_at, 21, 6) - substr(started_at, 21, 6)
    ) / 1000000.0) STORED,
    wait REAL GENERATED ALWAYS AS ((
        (CAST(strftime('%s', substr(started_at, 1, 19)) AS INTEGER) - strftime('%s', substr(queued_at, 1, 19))) * 1000000
        + substr(started_at, 21, 6) - substr(queued_at, 21, 6)
    ) / 1000000.0) STORED,
    request_order INTEGER NOT NULL,
    progress_order TEXT NOT NULL,
    metadata TEXT NOT NULL,
    metadata_order TEXT NOT NULL,
    history TEXT NOT NULL,
    error TEXT,
    progress TEXT,
    progress_types TEXT,
    children TEXT,
    stamps TEXT,
    args TEXT,
    args_types TEXT,
    kwargs TEXT,
    kwargs_types TEXT,
    result TEXT,
    result_types TEXT
) STRICT;

-- name: state
-- What failed lately, what is running.
CREATE INDEX {ix_state} ON {task} (state, updated_at);

-- name: name
-- How a task has been doing.
CREATE INDEX {ix_name} ON {task} (name, updated_at);

-- name: updated
-- What happened last.
CREATE INDEX {ix_updated} ON {task} (updated_at);

-- name: expires
-- What has expired.
CREATE INDEX {ix_expires} ON {task} (expires_at) WHERE expires_at IS NOT NULL;

-- name: members
-- The tasks of a group.
CREATE INDEX {ix_members} ON {task} (group_id) WHERE group_id IS NOT NULL;

-- name: children
-- The tasks that a task has called.
CREATE INDEX {ix_children} ON {task} (parent_id) WHERE parent_id IS NOT NULL;

-- name: group
-- The members of groups whose results somebody saved.
CREATE TABLE {group} (
    group_id TEXT NOT NULL PRIMARY KEY,
    members TEXT,
    expires_at TEXT
) STRICT;

-- name: group_expires
-- Which groups have expired.
CREATE INDEX {ix_group_expires} ON {group} (expires_at) WHERE expires_at IS NOT NULL;

-- name: chord
-- Chords whose body has not been sent yet, or was sent lately.
CREATE TABLE {chord} (
    group_id TEXT NOT NULL PRIMARY KEY,
    size INTEGER,
    extra INTEGER NOT NULL DEFAULT 0,
    token TEXT,
    leased_until REAL NOT NULL DEFAULT 0,
    closed INTEGER NOT NULL DEFAULT 0,
    expires_at TEXT
) STRICT;

-- name: chord_expires
-- Which chords have expired.
CREATE INDEX {ix_chord_expires} ON {chord} (expires_at) WHERE expires_at IS NOT NULL;

-- name: chord_part
-- The parts of a chord's header that have finished.
CREATE TABLE {chord_part} (
    group_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    payload TEXT,
    PRIMARY KEY (group_id, position, task_id)
) STRICT, WITHOUT ROWID;

-- name: applied
-- This migration has run.
INSERT INTO {version} (version, applied_at) VALUES (1, strftime('%Y-%m-%dT%H:%M:%fZ'));
