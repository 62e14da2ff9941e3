#!lua flags=no-writes
-- Reads the revocations since the last one that the caller knows.
-- KEYS  1 moments: hash, subject -> tokens of it that were issued before this moment are revoked, s
--       2 order: sorted set, subject -> number of its revocation
-- ARGV  1 number of the last revocation that the caller knows, 0 for none   2 how many are read at most
--       3 how long a revocation is kept, s
-- Returns {now, microseconds; how many are recorded and have not ended; {subject, moment, number, ...}}
local moments, order = KEYS[1], KEYS[2]
local found = redis.call('ZRANGEBYSCORE', order, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[2]))
local list = {}
for i = 1, #found, 2 do
  list[#list + 1] = found[i]
  list[#list + 1] = redis.call('HGET', moments, found[i]) or '0'
  list[#list + 1] = string.format('%.0f', found[i + 1])
end
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local since = string.format('%.0f', now_us - ARGV[3] * 1000000)
return { now_us, redis.call('ZCOUNT', order, since, '+inf'), list }
