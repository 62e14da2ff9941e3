-- Forgets a lost instance, unless it renewed its lease meanwhile.
-- KEYS  1 the directory of its role
-- ARGV  1 instance  2 the end of the lease that was seen, ms
-- Returns 1 when it was forgotten
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if lease and tonumber(lease) <= tonumber(ARGV[2]) then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0
