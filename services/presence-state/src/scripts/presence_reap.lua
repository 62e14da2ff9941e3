-- Evicts what has outlived its TTL. Whoever asked may have read long ago: what is stale is decided here.
-- KEYS  as in room.lua
-- ARGV  1 ttl ms  2 the most to evict in one call  3 traceparent
-- Returns {evicted, remaining, the earliest ms at which another can be stale, 0 when nobody is left}
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
local due = oldest[2] and int(tonumber(oldest[2]) + ttl) or '0'
return { evicted, redis.call('HLEN', conns), due }
