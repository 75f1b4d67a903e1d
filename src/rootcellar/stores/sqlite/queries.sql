-- name: version
-- The number of the last migration that ran.
SELECT coalesce(max(version), 0) FROM {version};

-- name: columns
-- The columns of a table, in order, and their types.
SELECT name, type FROM pragma_table_xinfo(:table);

-- name: indexes
-- The indexes of a table.
SELECT name FROM pragma_index_list(:table);

-- name: fetch_one
-- One task.
SELECT {columns} FROM {task} WHERE id = :id;

-- name: fetch
-- Some tasks; their ids are one JSON array, so that the statement is the same for any number.
SELECT {columns} FROM {task} WHERE id IN (SELECT value FROM json_each(:ids));

-- name: delete
-- Remove some tasks.
DELETE FROM {task} WHERE id IN (SELECT value FROM json_each(:ids));

-- name: expire
-- Remove the tasks that expired first.
DELETE FROM {task} WHERE rowid IN (SELECT rowid FROM {task} WHERE expires_at < :now ORDER BY expires_at LIMIT :limit);

-- name: expire_groups
-- Remove the groups that expired first.
DELETE FROM {group} WHERE rowid IN (SELECT rowid FROM {group} WHERE expires_at < :now ORDER BY expires_at LIMIT :limit);

-- name: expired_chords
-- The chords that expired first, as one JSON array.
SELECT json_group_array(group_id)
FROM (SELECT group_id FROM {chord} WHERE expires_at < :now ORDER BY expires_at LIMIT :limit);

-- name: chords_delete
-- Remove some chords.
DELETE FROM {chord} WHERE group_id IN (SELECT value FROM json_each(:ids));

-- name: chords_delete_parts
-- Remove the parts of some chords.
DELETE FROM {chord_part} WHERE group_id IN (SELECT value FROM json_each(:ids));

-- name: group_save
-- Keep the members of a group; saving again replaces them.
INSERT INTO {group} (group_id, members, expires_at) VALUES (:group_id, :members, :expires_at)
ON CONFLICT (group_id) DO UPDATE SET members = excluded.members, expires_at = excluded.expires_at;

-- name: group_fetch
-- The members of a group.
SELECT members FROM {group} WHERE group_id = :group_id;

-- name: group_delete
-- Forget a group.
DELETE FROM {group} WHERE group_id = :group_id;

-- name: chord_resize
-- Say how many parts a chord has; an earlier claim is void.
INSERT INTO {chord} (group_id, size, expires_at) VALUES (:group_id, :size, :expires_at)
ON CONFLICT (group_id) DO UPDATE SET
    size = excluded.size, token = NULL, closed = 0, expires_at = coalesce(excluded.expires_at, expires_at);

-- name: chord_extend
-- Expect more parts.
INSERT INTO {chord} (group_id, extra, expires_at) VALUES (:group_id, :count, :expires_at)
ON CONFLICT (group_id) DO UPDATE SET
    extra = extra + excluded.extra, expires_at = coalesce(excluded.expires_at, expires_at);

-- name: chord_touch
-- Know of a chord before its size is known, and how long to keep it.
INSERT INTO {chord} (group_id, expires_at) VALUES (:group_id, :expires_at)
ON CONFLICT (group_id) DO UPDATE SET expires_at = coalesce(excluded.expires_at, expires_at)
RETURNING size + extra, closed;

-- name: chord_part_add
-- One part has finished; a part that is known changes nothing.
INSERT INTO {chord_part} (group_id, position, task_id, payload) VALUES (:group_id, :position, :task_id, :payload)
ON CONFLICT DO NOTHING;

-- name: chord_part_count
-- How many parts have finished.
SELECT count(*) FROM {chord_part} WHERE group_id = :group_id;

-- name: chord_claim
-- Take or keep the right to send the body: when nobody has it, or it is one's own, or its lease ran out.
UPDATE {chord} SET token = :token, leased_until = :now + :lease
WHERE group_id = :group_id AND NOT closed AND (token IS NULL OR token = :token OR leased_until <= :now);

-- name: chord_parts
-- What the parts handed in, by position.
SELECT payload FROM {chord_part} WHERE group_id = :group_id ORDER BY position, task_id;

-- name: chord_close
-- The body was sent.
UPDATE {chord} SET closed = 1, extra = 0 WHERE group_id = :group_id AND token = :token;

-- name: chord_parts_delete
-- Forget the parts of a chord.
DELETE FROM {chord_part} WHERE group_id = :group_id;
