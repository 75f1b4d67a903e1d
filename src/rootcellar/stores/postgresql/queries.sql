-- name: fetch
-- The records of some ids.
SELECT {columns} FROM {task} WHERE id = ANY ($1::text[])

-- name: delete
-- Remove records; they are locked in the order of their ids, as `merge` locks them.
DELETE FROM {task} WHERE id IN (SELECT id FROM {task} WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE)

-- name: expire_tasks
-- Remove some expired records, but none that somebody else is writing or removing now.
DELETE FROM {task} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {task} WHERE expires_at < $1::timestamptz ORDER BY expires_at LIMIT $2::bigint
    FOR UPDATE SKIP LOCKED
))

-- name: expire_groups
-- Remove some expired groups.
DELETE FROM {group} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {group} WHERE expires_at < $1::timestamptz ORDER BY expires_at LIMIT $2::bigint
    FOR UPDATE SKIP LOCKED
))

-- name: expire_chords
-- Remove some expired chords with their parts.
WITH gone AS (
    DELETE FROM {chord} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {chord} WHERE expires_at < $1::timestamptz ORDER BY expires_at LIMIT $2::bigint
        FOR UPDATE SKIP LOCKED
    )) RETURNING group_id
), parts AS (
    DELETE FROM {chord_part} WHERE group_id IN (SELECT group_id FROM gone)
)
SELECT FROM gone

-- name: group_save
-- Keep a group's members.
INSERT INTO {group} (group_id, members, expires_at) VALUES ($1, $2::jsonb, $3::timestamptz)
ON CONFLICT (group_id) DO UPDATE SET members = EXCLUDED.members, expires_at = EXCLUDED.expires_at

-- name: group_fetch
-- The members of a group.
SELECT members FROM {group} WHERE group_id = $1

-- name: group_delete
-- Forget a group's members.
DELETE FROM {group} WHERE group_id = $1

-- name: chord_resize
-- Start a run of the chord with $2 parts. What joined after the last run was closed is none of it.
WITH stray AS (
    DELETE FROM {chord_part} WHERE group_id = $1 AND EXISTS (SELECT FROM {chord} WHERE group_id = $1 AND closed)
)
INSERT INTO {chord} AS c (group_id, size, extra, joined, leased_until, closed, expires_at)
VALUES ($1, $2::bigint, 0, 0, 0, FALSE, $3::timestamptz)
ON CONFLICT (group_id) DO UPDATE SET size = EXCLUDED.size, token = NULL, closed = FALSE,
    expires_at = COALESCE(EXCLUDED.expires_at, c.expires_at)

-- name: chord_extend
-- Expect $2 parts more.
INSERT INTO {chord} AS c (group_id, extra, joined, leased_until, closed, expires_at)
VALUES ($1, $2::bigint, 0, 0, FALSE, $3::timestamptz)
ON CONFLICT (group_id) DO UPDATE SET extra = c.extra + EXCLUDED.extra,
    expires_at = COALESCE(EXCLUDED.expires_at, c.expires_at)

-- name: chord_join
-- Add the part ($2, $3) and claim the chord for the token $6 when it is complete. The chord's row lock puts the joining
-- parts in a line, each of which sees the count that the one before it left; so the last one sees all.
WITH part AS (
    INSERT INTO {chord_part} (group_id, position, task_id, payload)
    SELECT $1, $2::bigint, $3, $4::jsonb
    WHERE NOT EXISTS (SELECT FROM {chord} WHERE group_id = $1 AND closed)
    ON CONFLICT DO NOTHING RETURNING 1
)
INSERT INTO {chord} AS c (group_id, extra, joined, leased_until, closed, expires_at)
SELECT $1, 0, count(*), 0, FALSE, $5::timestamptz FROM part
ON CONFLICT (group_id) DO UPDATE SET
    joined = CASE WHEN c.closed THEN c.joined ELSE c.joined + EXCLUDED.joined END,
    token = CASE WHEN c.size + c.extra = c.joined + EXCLUDED.joined AND NOT c.closed AND (
        c.token IS NULL OR c.token = $6 OR c.leased_until <= extract(epoch FROM clock_timestamp())
    ) THEN $6 ELSE c.token END,
    leased_until = CASE WHEN c.size + c.extra = c.joined + EXCLUDED.joined AND NOT c.closed AND (
        c.token IS NULL OR c.token = $6 OR c.leased_until <= extract(epoch FROM clock_timestamp())
    ) THEN extract(epoch FROM clock_timestamp()) + $7::float8 ELSE c.leased_until END,
    expires_at = COALESCE(EXCLUDED.expires_at, c.expires_at)
RETURNING joined, size, extra, closed, COALESCE(token = $6 AND size + extra = joined AND NOT closed, FALSE)

-- name: chord_parts
-- The payloads of the parts that joined.
SELECT payload FROM {chord_part} WHERE group_id = $1
    AND NOT EXISTS (SELECT FROM {chord} WHERE group_id = $1 AND closed) ORDER BY position, task_id

-- name: chord_renew
-- Hold the claim for $3 seconds from now, by the server's clock.
UPDATE {chord} SET token = $2, leased_until = extract(epoch FROM clock_timestamp()) + $3::float8
WHERE group_id = $1 AND NOT closed
    AND (token IS NULL OR token = $2 OR leased_until <= extract(epoch FROM clock_timestamp()))

-- name: chord_close
-- The body was sent: forget the parts.
WITH closed AS (
    UPDATE {chord} SET closed = TRUE, extra = 0, joined = 0 WHERE group_id = $1 AND token = $2 RETURNING group_id
), gone AS (
    DELETE FROM {chord_part} WHERE group_id IN (SELECT group_id FROM closed)
)
SELECT count(*) FROM closed

-- name: notify
-- Tell who listens on the channel $1.
SELECT pg_notify($1, $2)

-- name: server_time
-- The server's clock.
SELECT extract(epoch FROM clock_timestamp())::float8

-- name: columns
-- The columns of the tables in the array $1, wherever the search path finds them.
SELECT c.relname, a.attname, format_type(a.atttypid, NULL)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.oid = ANY (ARRAY(SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name))
    AND a.attnum > 0 AND NOT a.attisdropped

-- name: indexes
-- The indexes of the table $1, and whether each is usable.
SELECT c.relname, i.indisvalid
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass($1)

-- name: version
-- The last migration that ran.
SELECT max(version) FROM {version}

-- name: settings
-- What decides how durable a write is, and whom one talks to.
SELECT current_setting('server_version'), current_setting('synchronous_commit'), current_setting('fsync'),
    current_setting('full_page_writes'), current_database(), current_setting('server_encoding'), pg_is_in_recovery()
