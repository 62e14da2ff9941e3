-- Evicts what is over in a partition: connections, locks and waiters of gateways that are gone (some 200 per call), and locks and
-- waiters whose time is over.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks, departure
-- KEYS  1 the partition
-- ARGV  3 traceparent  then the gateways that are gone
-- Returns {how many connections were evicted, rooms that changed, whether there is more 0|1, {rooms that cannot be read}}
-- A room that cannot be read (something else wrote its keys) is skipped: it must not block the others.
local MOST_ROOMS = 50
local traceparent, gone, evicted, changed, more, has_moved, broken = ARGV[3], {}, 0, 0, 0, false, {}
for i = 4, #ARGV do gone[ARGV[i]] = true end

local function is_of_gone(one) return gone[one.gateway] end
local function is_meant(_, record) return gone[record.gateway] end

-- A large room takes several calls and stores its cursor.
local function clear(room)
  turn_to(1, room)
  local cursor, number = '0', 0
  if count() > 0 then
    cursor, number = evict(redis.call('HGET', room_key, 'scan') or '0', is_meant, 'node_lost', traceparent)
    if cursor ~= '0' then redis.call('HSET', room_key, 'scan', cursor) else redis.call('HDEL', room_key, 'scan') end
    has_moved = has_moved or number > 0 or cursor ~= '0'
  end
  drop(is_of_gone, traceparent)
  for gateway in pairs(gone) do leaving[gateway] = true end
  close(traceparent)
  evicted, changed = evicted + number, changed + (number > 0 and 1 or 0)
end

for gateway in pairs(gone) do
  for _, room in ipairs(redis.call('SRANDMEMBER', key('rooms', gateway), MOST_ROOMS)) do
    if evicted + ended >= MOST_EVICTED or ended_locks >= MOST_ENDED_LOCKS then break end
    if not pcall(clear, room) then
      broken[#broken + 1] = room
      untie(gateway, room)
    end
  end
  if redis.call('EXISTS', key('rooms', gateway)) == 1 then
    more = (has_moved or ended > 0) and 1 or 0
  else
    redis.call('SREM', base .. ':gateways', gateway)
  end
end

local due = redis.call('ZRANGEBYSCORE', base .. ':due', '-inf', now, 'LIMIT', 0, MOST_ROOMS)
for _, room in ipairs(due) do
  if evicted + ended >= MOST_EVICTED or ended_locks >= MOST_ENDED_LOCKS then
    more = 1
    break
  end
  local is_done = pcall(function()
    turn_to(1, room)
    settle(traceparent)
    untie_leaving()
  end)
  if not is_done then
    broken[#broken + 1] = room
    redis.call('ZREM', base .. ':due', room)
  end
end
if #due == MOST_ROOMS or ended_locks >= MOST_ENDED_LOCKS then more = 1 end
return { evicted, changed, more, broken }
