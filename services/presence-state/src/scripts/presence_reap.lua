-- Evicts what has outlived its TTL, and ends such locks. Whoever asked may have read long ago: what is stale is decided here.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 ttl ms  2 the most to evict in one call  3 traceparent
-- Returns {evicted, remaining, the earliest ms at which another can be stale or a lock ends, 0 when nothing is left}
local ttl = tonumber(ARGV[1])
local evicted = evict_expired(ttl, tonumber(ARGV[2]), {}, ARGV[3])
local oldest = redis.call('ZRANGE', last_seen, 0, 0, 'WITHSCORES')
local due = oldest[2] and tonumber(oldest[2]) + ttl
local ends = settle(ARGV[3])
if ends then due = math.min(due or ends, ends) end
return { evicted, redis.call('HLEN', conns), int(due or 0) }
