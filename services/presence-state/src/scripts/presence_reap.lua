-- Evicts what has outlived its TTL, and ends such locks. Whoever asked may have read long ago: what is stale is decided here.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 ttl ms  2 the most to evict in one call  3 traceparent
-- Returns {evicted, remaining, the earliest ms at which another can be stale or a lock ends, 0 when nothing is left}
local ttl, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local evicted = 0
for _, conn in ipairs(redis.call('ZRANGEBYSCORE', last_seen, '-inf', now - ttl, 'LIMIT', 0, limit)) do
  local record = read(conn)
  if record then
    remove(conn, record, 'expired', ARGV[3])
    evicted = evicted + 1
  else
    redis.call('ZREM', last_seen, conn)
  end
end
local oldest = redis.call('ZRANGE', last_seen, 0, 0, 'WITHSCORES')
local due = oldest[2] and tonumber(oldest[2]) + ttl
local ends = settle(ARGV[3])
if ends then due = math.min(due or ends, ends) end
return { evicted, redis.call('HLEN', conns), int(due or 0) }
