-- How connections leave a room, for whatever reason; behind room.lua and locks.lua.

-- Takes a connection out of the room and says so; its locks end with it. The keys of an empty room vanish with its last member.
local function remove(conn, record, reason, traceparent)
  redis.call('HDEL', conns, conn)
  redis.call('ZREM', last_seen, conn)
  local last = redis.call('HINCRBY', users, record.user, -1) <= 0
  if last then redis.call('HDEL', users, record.user) end
  publish('leave', reason, last, conn, record, traceparent)
  drop(function(one) return one.conn == conn end, traceparent)
  if redis.call('HLEN', conns) == 0 then
    redis.call('DEL', last_seen, users, info)
    return 0
  end
  return redis.call('HLEN', conns)
end

-- Evicts those who have outlived their TTL, the most silent first and `limit` of them at most, but for the `spared`; says
-- how many.
local function evict_expired(ttl, limit, spared, traceparent)
  local evicted = 0
  for _, conn in ipairs(redis.call('ZRANGEBYSCORE', last_seen, '-inf', now - ttl, 'LIMIT', 0, limit)) do
    local record = read(conn)
    if not (record and record.user) then
      -- Gone, or of a form that is not ours: nobody was shown it.
      redis.call('ZREM', last_seen, conn)
      redis.call('HDEL', conns, conn)
    elseif not spared[conn] then
      remove(conn, record, 'expired', traceparent)
      evicted = evicted + 1
    end
  end
  return evicted
end
