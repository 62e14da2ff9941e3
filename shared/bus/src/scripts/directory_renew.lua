-- Renews an instance's lease (or ends it) and tells who is alive.
-- KEYS  1..3  the directories of gateways, presence-states and reapers: sorted sets, instance -> end of its lease in ms
-- ARGV  1 which of the keys is the caller's  2 instance  3 length of a lease in ms, 0 for a goodbye
-- Returns {now in ms, {gateway, lease end, ...}, {state, lease end, ...}, {reaper, lease end, ...}}
-- Gateways whose lease ended stay until a reaper has evicted what they held; the others are forgotten at once.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local own, instance, lease = KEYS[tonumber(ARGV[1])], ARGV[2], tonumber(ARGV[3])
if lease > 0 then
  redis.call('ZADD', own, now + lease, instance)
  redis.call('PEXPIRE', own, 60 * lease)
else
  redis.call('ZREM', own, instance)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
local all = { now }
for i = 1, 3 do
  all[i + 1] = redis.call('ZRANGE', KEYS[i], 0, -1, 'WITHSCORES')
end
return all
