-- Adds a part to a chord and, when it is the last one missing, claims the body.
--
-- KEYS: the chord. ARGV: the part's field, its payload, when the chord ends (milliseconds, or empty), the caller's
-- token, the length of its lease (milliseconds).
-- Returns how many parts joined, how many are expected (or false), whether the body is claimed, whether it was sent.
local key, part, payload, ends, token, lease = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local call = redis.call
local chord = call('HMGET', key, 'size', 'extra', 'closed', 'token', 'leased_until', 'joined')
local size, extra, closed, holder, until_, joined = chord[1], chord[2], chord[3], chord[4], chord[5], chord[6]
if ends ~= '' then call('PEXPIREAT', key, ends) end
if closed then return {0, size, 0, 1} end
if call('HSETNX', key, part, payload) == 1 then joined = call('HINCRBY', key, 'joined', 1) end
if ends ~= '' then call('PEXPIREAT', key, ends) end
joined = tonumber(joined)
if not size then return {joined, false, 0, 0} end
size = size + (extra or 0)
if size ~= joined then return {joined, size, 0, 0} end
local clock = call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
if holder and holder ~= token and tonumber(until_) > now then return {joined, size, 0, 0} end
call('HSET', key, 'token', token, 'leased_until', string.format('%.3f', now + lease))
return {joined, size, 1, 0}
