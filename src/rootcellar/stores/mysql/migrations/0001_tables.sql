-- name: version
-- Which migrations ran.
CREATE TABLE IF NOT EXISTS {version} (
    version BIGINT NOT NULL PRIMARY KEY,
    applied_at DATETIME(6) NOT NULL
) {options};

-- name: task
-- One row per task. Ids and texts compare by code point; times are in UTC. The index on `updated_at` also holds what
-- statistics of a span of time are made of: rows lie in the order of their ids, so to read them takes ten times as long.
CREATE TABLE IF NOT EXISTS {task} (
    id {id} NOT NULL PRIMARY KEY,
    state {state} NOT NULL,
    state_order {order} NOT NULL,
    updated_at DATETIME(6),
    name {text},
    queue {text},
    routing_key {text},
    priority BIGINT,
    worker {text},
    pid BIGINT,
    attempt BIGINT NOT NULL,
    parent_id {id},
    root_id {id},
    group_id {id},
    origin {text},
    queued_at DATETIME(6),
    eta DATETIME(6),
    started_at DATETIME(6),
    finished_at DATETIME(6),
    expires_at DATETIME(6),
    request_order BIGINT NOT NULL,
    progress_order {order} NOT NULL,
    metadata JSON NOT NULL,
    metadata_order JSON NOT NULL,
    history JSON NOT NULL,
    error {document:error},
    progress {document:progress},
    progress_types {document:progress_types},
    children {document:children},
    stamps {document:stamps},
    args {document:args},
    args_types {document:args_types},
    kwargs {document:kwargs},
    kwargs_types {document:kwargs_types},
    result {document:result},
    result_types {document:result_types},
    INDEX {ix_state} (state, updated_at),
    INDEX {ix_name} (name, updated_at),
    INDEX {ix_updated} (updated_at, name, state, queued_at, started_at, finished_at),
    INDEX {ix_expires} (expires_at),
    INDEX {ix_members} (group_id),
    INDEX {ix_children} (parent_id)
) {options};

-- name: group
-- Members of groups.
CREATE TABLE IF NOT EXISTS {group} (
    group_id {id} NOT NULL PRIMARY KEY,
    members {document:members},
    expires_at DATETIME(6),
    INDEX (expires_at)
) {options};

-- name: chord
-- Chords whose header runs. `leased_until` is in seconds since 1970 by the server's clock.
CREATE TABLE IF NOT EXISTS {chord} (
    group_id {id} NOT NULL PRIMARY KEY,
    size BIGINT,
    extra BIGINT NOT NULL DEFAULT 0,
    token {text},
    leased_until DOUBLE NOT NULL DEFAULT 0,
    closed BOOLEAN NOT NULL DEFAULT FALSE,
    expires_at DATETIME(6),
    INDEX (expires_at)
) {options};

-- name: chord_part
-- The parts that joined a chord.
CREATE TABLE IF NOT EXISTS {chord_part} (
    group_id {id} NOT NULL,
    position BIGINT NOT NULL,
    task_id {id} NOT NULL,
    payload {document:payload},
    PRIMARY KEY (group_id, position, task_id)
) {options};
