-- Says how many parts a chord has, and begins a new run of it.
--
-- KEYS: the chord. ARGV: the size, when the chord ends (milliseconds, or empty).
local call, key, ends = redis.call, KEYS[1], ARGV[2]
if call('HEXISTS', key, 'closed') == 1 then call('PERSIST', key) end
call('HSET', key, 'size', ARGV[1])
call('HDEL', key, 'token', 'leased_until', 'closed')
if ends ~= '' then call('PEXPIREAT', key, ends) end
return 1
