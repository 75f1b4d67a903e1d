-- Expects some parts more.
--
-- KEYS: the chord. ARGV: how many, when the chord ends (milliseconds, or empty).
redis.call('HINCRBY', KEYS[1], 'extra', ARGV[1])
if ARGV[2] ~= '' then redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end
return 1
