-- How connections leave a room, for any reason.
-- needs: clock, call, history, partition, lives, room, stored_lock, locks

-- The maximum that one call evicts, and the maximum records that it reads for that; a script blocks Redis while it runs.
local MOST_EVICTED, MOST_LOOKED_AT = 200, 1000

local function depart(conn, record, reason, traceparent)
  redis.call('HDEL', members_key, conn)
  grow(-size(conn, record))
  local is_last = redis.call('HINCRBY', room_key, 'u:' .. record.user, -1) <= 0
  if is_last then
    redis.call('HDEL', room_key, 'u:' .. record.user)
    head.users = int(head.users - 1)
  end
  count_gateway(record.gateway, -1)
  publish('leave', reason, is_last, conn, record, traceparent)
  departed[conn] = true
end

-- Removes the matching connections, from `cursor` on. Returns the next cursor ('0' at the end) and how many were removed.
local function evict(cursor, is_meant, reason, traceparent)
  local evicted, looked_at = 0, 0
  repeat
    local page = redis.call('HSCAN', members_key, cursor, 'COUNT', MOST_EVICTED)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      local conn, record = page[2][i], parse(page[2][i + 1])
      looked_at = looked_at + 1
      if record and is_meant(conn, record) then
        depart(conn, record, reason, traceparent)
        evicted = evicted + 1
      end
    end
  until cursor == '0' or evicted >= MOST_EVICTED or looked_at >= MOST_LOOKED_AT
  return cursor, evicted
end

-- Ends a call that may have changed the room: the locks of departed connections end, an empty room loses its keys, and the index
-- is updated. Returns how many members remain.
local function close(traceparent)
  local first = next(departed)
  if first and not next(departed, first) then
    drop_own(first, math.huge, traceparent)
  elseif first then
    drop(function(one) return departed[one.conn] end, traceparent)
  end
  local members = head and redis.call('HLEN', members_key) or 0
  if members > 0 then
    save()
  elseif head then
    redis.call('UNLINK', room_key)
    redis.call('SREM', base .. ':rooms', room)
    expire_metadata()
    head = nil
  end
  untie_leaving()
  return members
end
