-- name: version
-- Which migrations ran.
CREATE TABLE {version} (
    version bigint NOT NULL PRIMARY KEY,
    applied_at timestamp with time zone NOT NULL DEFAULT now()
);

-- name: task
-- One row per task. Texts compare by code point; empty metadata is null.
CREATE TABLE {task} (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    state text COLLATE "C" NOT NULL,
    state_order text COLLATE "C" NOT NULL,
    updated_at timestamp with time zone,
    name text COLLATE "C",
    queue text COLLATE "C",
    routing_key text COLLATE "C",
    priority bigint,
    worker text COLLATE "C",
    pid bigint,
    attempt bigint NOT NULL,
    parent_id text COLLATE "C",
    root_id text COLLATE "C",
    group_id text COLLATE "C",
    origin text COLLATE "C",
    queued_at timestamp with time zone,
    eta timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    expires_at timestamp with time zone,
    request_order bigint NOT NULL,
    progress_order text COLLATE "C" NOT NULL,
    metadata jsonb,
    metadata_order jsonb,
    history jsonb,
    error jsonb,
    progress jsonb,
    progress_types jsonb,
    children jsonb,
    stamps jsonb,
    args jsonb,
    args_types jsonb,
    kwargs jsonb,
    kwargs_types jsonb,
    result jsonb,
    result_types jsonb
);

-- name: ix_state
-- Which tasks are in a state, the latest first.
CREATE INDEX {ix_state} ON {task} (state, updated_at);

-- name: ix_name
-- The tasks of a name, or of names with a common beginning.
CREATE INDEX {ix_name} ON {task} (name, updated_at);

-- name: ix_updated
-- What changed last. It also holds what statistics of a span of time are made of, so that those read nothing else.
CREATE INDEX {ix_updated} ON {task} (updated_at) INCLUDE (name, state, queued_at, started_at, finished_at);

-- name: ix_expires
-- What can be removed.
CREATE INDEX {ix_expires} ON {task} (expires_at) WHERE expires_at IS NOT NULL;

-- name: ix_members
-- The tasks of a group.
CREATE INDEX {ix_members} ON {task} (group_id) WHERE group_id IS NOT NULL;

-- name: ix_children
-- The tasks that a task started.
CREATE INDEX {ix_children} ON {task} (parent_id) WHERE parent_id IS NOT NULL;

-- name: ix_metadata
-- Equality at any path inside metadata: metadata @> '{"user": 42}'. The list of pending entries is kept short, because
-- every search reads all of it.
CREATE INDEX {ix_metadata} ON {task} USING gin (metadata jsonb_path_ops)
    WITH (fastupdate = on, gin_pending_list_limit = 256) WHERE metadata IS NOT NULL;

-- name: group
-- Members of groups.
CREATE TABLE {group} (
    group_id text COLLATE "C" NOT NULL PRIMARY KEY,
    members jsonb,
    expires_at timestamp with time zone
);

-- name: ix_group_expires
-- Which groups can be removed.
CREATE INDEX {ix_group_expires} ON {group} (expires_at) WHERE expires_at IS NOT NULL;

-- name: chord
-- Chords whose header runs. `joined` counts the rows of the parts' table.
CREATE TABLE {chord} (
    group_id text COLLATE "C" NOT NULL PRIMARY KEY,
    size bigint,
    extra bigint NOT NULL,
    joined bigint NOT NULL,
    token text COLLATE "C",
    leased_until double precision NOT NULL,
    closed boolean NOT NULL,
    expires_at timestamp with time zone
);

-- name: ix_chord_expires
-- Which chords can be removed.
CREATE INDEX {ix_chord_expires} ON {chord} (expires_at) WHERE expires_at IS NOT NULL;

-- name: chord_part
-- The parts that joined a chord.
CREATE TABLE {chord_part} (
    group_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    payload jsonb,
    PRIMARY KEY (group_id, position, task_id)
);

-- name: done
-- This migration is complete.
INSERT INTO {version} (version) VALUES (1);
