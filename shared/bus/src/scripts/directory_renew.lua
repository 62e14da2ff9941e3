#!lua flags=allow-oom
-- Renews the lease of an instance, or ends it; removes every instance whose lease has ended; returns the changes since.
-- KEYS  1 leases: sorted set, instance -> end of its lease, ms   2 changes: number of the last change
--       3 log: sorted set, instance -> number of the change that last added or removed it
-- ARGV  1 instance   2 length of a lease, ms, 0 to end it   3 number of the last change that the caller knows, 0 for none
--       4.. instances whose leases are requested
-- Returns {now, ms; number of the last change; replication id; 1 if the caller's lease was still held;
--          1 if the changes are complete, 0 if the caller has to read the list;
--          {instance, 1 or 0 for a removed one, ...}; {end of each requested lease, or 0, ...}}
-- A change is one instance added or removed. The log holds the last 256 changes. Numbers begin from the time, so that none is
-- used twice even if Redis lost them.
local LOG = 256
local leases, changes, log = KEYS[1], KEYS[2], KEYS[3]
local instance, length, known = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local changed, count, still_held = {}, 0, 0
if length > 0 then
  count = redis.call('ZADD', leases, now + length, instance)
  still_held = 1 - count
else
  count = redis.call('ZREM', leases, instance)
  still_held = count
end
if count == 1 then changed[1] = instance end
for _, ended in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
  redis.call('ZREM', leases, ended)
  count = count + 1
  changed[count] = ended
end

local last = tonumber(redis.call('GET', changes) or 0)
if count > 0 or last == 0 then
  if last == 0 then last = now * 1000 end
  for _, name in ipairs(changed) do
    last = last + 1
    redis.call('ZADD', log, last, name)
  end
  redis.call('SET', changes, string.format('%.0f', last))
  redis.call('ZREMRANGEBYSCORE', log, '-inf', last - LOG)
end

local reported, complete = {}, known == last and 1 or 0
if known > 0 and known < last and last - known <= LOG then
  complete = 1
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', log, string.format('(%.0f', known), '+inf')) do
    reported[#reported + 1] = name
    reported[#reported + 1] = redis.call('ZSCORE', leases, name) and 1 or 0
  end
end
local requested = {}
for i = 4, #ARGV do
  requested[i - 3] = tonumber(redis.call('ZSCORE', leases, ARGV[i]) or 0)
end
local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
return { now, last, id, still_held, complete, reported, requested }
