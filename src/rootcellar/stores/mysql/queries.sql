-- name: version
-- The last migration that ran.
SELECT COALESCE(MAX(version), 0) FROM {version};

-- name: version_add
-- One migration has run; another process may have noted it already.
INSERT INTO {version} (version, applied_at) VALUES (%(version)s, UTC_TIMESTAMP(6))
ON DUPLICATE KEY UPDATE version = {version}.version;

-- name: columns
-- The columns of some tables, with their types and collations.
SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COALESCE(COLLATION_NAME, ''), EXTRA FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = COALESCE(%(schema)s, DATABASE()) AND TABLE_NAME IN %(tables)s ORDER BY TABLE_NAME, ORDINAL_POSITION;

-- name: indexes
-- The indexes of a table.
SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = COALESCE(%(schema)s, DATABASE()) AND TABLE_NAME = %(table)s;

-- name: database
-- The database that one is in.
SELECT DATABASE();

-- name: lock
-- Set-up by one process at a time.
SELECT GET_LOCK(%(lock)s, %(patience)s);

-- name: unlock
-- Set-up is done.
SELECT RELEASE_LOCK(%(lock)s);

-- name: server_time
-- The server's clock.
SELECT NOW(6);

-- name: settings
-- What decides how durable a write is, how large it may be, and how it is seen by others.
SHOW VARIABLES WHERE Variable_name IN (
    'innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'sync_binlog', 'log_bin', 'binlog_format', 'max_allowed_packet',
    'sql_mode', 'time_zone', 'transaction_isolation', 'tx_isolation', 'read_only', 'version_comment', 'wait_timeout'
);

-- name: fetch
-- The records of some ids.
SELECT {columns} FROM {task} WHERE id IN %(ids)s;

-- name: delete
-- Remove some records.
DELETE FROM {task} WHERE id IN %(ids)s;

-- name: expired
-- The records that expired first.
SELECT id FROM {task} WHERE expires_at < %(now)s ORDER BY expires_at LIMIT %(limit)s;

-- name: expire
-- Remove records that have expired and were not given longer meanwhile.
DELETE FROM {task} WHERE id IN %(ids)s AND expires_at < %(now)s;

-- name: expire_groups
-- Remove some expired groups.
DELETE FROM {group} WHERE expires_at < %(now)s ORDER BY expires_at LIMIT %(limit)s;

-- name: expired_chords
-- Some expired chords, which nobody can join until this transaction ends.
SELECT group_id FROM {chord} WHERE expires_at < %(now)s ORDER BY expires_at LIMIT %(limit)s FOR UPDATE;

-- name: chords_delete_parts
-- Remove the parts of some chords.
DELETE FROM {chord_part} WHERE group_id IN %(ids)s;

-- name: chords_delete
-- Remove some chords.
DELETE FROM {chord} WHERE group_id IN %(ids)s;

-- name: group_save
-- Keep the members of a group; saving again replaces them.
INSERT INTO {group} (group_id, members, expires_at) VALUES (%(group_id)s, %(members)s, %(expires_at)s)
ON DUPLICATE KEY UPDATE members = %(members)s, expires_at = %(expires_at)s;

-- name: group_fetch
-- The members of a group.
SELECT members FROM {group} WHERE group_id = %(group_id)s;

-- name: group_delete
-- Forget a group.
DELETE FROM {group} WHERE group_id = %(group_id)s;

-- name: chord_resize
-- Say how many parts a chord has; an earlier claim is void.
INSERT INTO {chord} (group_id, size, expires_at) VALUES (%(group_id)s, %(size)s, %(expires_at)s)
ON DUPLICATE KEY UPDATE size = %(size)s, token = NULL, closed = FALSE, expires_at = COALESCE(%(expires_at)s, expires_at);

-- name: chord_extend
-- Expect more parts.
INSERT INTO {chord} (group_id, extra, expires_at) VALUES (%(group_id)s, %(count)s, %(expires_at)s)
ON DUPLICATE KEY UPDATE extra = extra + %(count)s, expires_at = COALESCE(%(expires_at)s, expires_at);

-- name: chord_touch
-- Know of a chord before its size is known, and how long to keep it. Locks its row: the parts that join stand in a line.
INSERT INTO {chord} (group_id, expires_at) VALUES (%(group_id)s, %(expires_at)s)
ON DUPLICATE KEY UPDATE expires_at = COALESCE(%(expires_at)s, expires_at);

-- name: chord_part_add
-- One part has finished; a part that is known, or comes late, changes nothing.
INSERT INTO {chord_part} (group_id, position, task_id, payload)
SELECT group_id, %(position)s, %(task_id)s, %(payload)s FROM {chord} WHERE group_id = %(group_id)s AND NOT closed
ON DUPLICATE KEY UPDATE position = {chord_part}.position;

-- name: chord_state
-- How many parts a chord has and how many it should have.
SELECT (SELECT COUNT(*) FROM {chord_part} WHERE group_id = %(group_id)s), size + extra, closed
FROM {chord} WHERE group_id = %(group_id)s;

-- name: chord_claim
-- Take or keep the right to send the body: when nobody has it, or it is one's own, or its lease ran out.
UPDATE {chord} SET token = %(token)s, leased_until = UNIX_TIMESTAMP(NOW(6)) + %(lease)s
WHERE group_id = %(group_id)s AND NOT closed
    AND (token IS NULL OR token = %(token)s OR leased_until <= UNIX_TIMESTAMP(NOW(6)));

-- name: chord_parts
-- What the parts handed in, by position.
SELECT payload FROM {chord_part} WHERE group_id = %(group_id)s ORDER BY position, task_id;

-- name: chord_close
-- The body was sent.
UPDATE {chord} SET closed = TRUE, extra = 0 WHERE group_id = %(group_id)s AND token = %(token)s;
