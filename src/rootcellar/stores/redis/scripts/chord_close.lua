-- The body was sent: forgets the parts, and remembers for as long as the chord lasts that it is closed.
--
-- KEYS: the chord. ARGV: the token, how long to remember a chord that has no end (milliseconds). Returns 0 without the
-- claim.
local call, key = redis.call, KEYS[1]
local chord = call('HMGET', key, 'token', 'size')
if chord[1] ~= ARGV[1] then return 0 end
local left = call('PTTL', key)
call('DEL', key)
call('HSET', key, 'closed', 1, 'token', ARGV[1])
if chord[2] then call('HSET', key, 'size', chord[2]) end
call('PEXPIRE', key, left > 0 and left or ARGV[2])
return 1
