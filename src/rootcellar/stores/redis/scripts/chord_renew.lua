-- Holds a claim for longer.
--
-- KEYS: the chord. ARGV: the token, the length of its lease (milliseconds). Returns 0 when another holds it.
local call = redis.call
if call('EXISTS', KEYS[1]) == 0 then return 0 end
local chord = call('HMGET', KEYS[1], 'closed', 'token', 'leased_until')
local clock = call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
if chord[1] or (chord[2] and chord[2] ~= ARGV[1] and tonumber(chord[3]) > now) then return 0 end
call('HSET', KEYS[1], 'token', ARGV[1], 'leased_until', string.format('%.3f', now + ARGV[2]))
return 1
