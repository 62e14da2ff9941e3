-- Acquires a lock, extends it, or waits in line for it.
-- needs: clock, call, history, partition, lives, room, stored_lock, locks
-- KEYS  1 the partition
-- ARGV  3 room  4 traceparent  5 channelType  6 lockName  7 conn  8 op; a repeated request names the op it began with
--       9 gateway  10 user  11 ttl ms  12 ms to wait, 0 for none  13 the maximum locks and 14 the maximum waiters of a room's name
-- Returns {status, fence, ms of its end, conn, user, how many are ahead}: held | waits | taken | full | overtaken
turn_to(1, ARGV[3])
local traceparent, id, conn, op = ARGV[4], ARGV[5] .. '\n' .. ARGV[6], ARGV[7], tonumber(ARGV[8])
local gateway, user, ttl, wait = ARGV[9], ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12])
local waiters = key('waiters', room)

local function answer(status, lock, ahead)
  untie_leaving()
  return { status, int(lock.fence), int(lock.ends), lock.conn, lock.user, int(ahead or 0) }
end

local function stand_in_line(place, ends)
  redis.call('ZADD', waiters, int(place),
    id .. '\n' .. conn .. '\n' .. gateway .. '\n' .. user .. '\n' .. int(op) .. ' ' .. int(ttl) .. ' ' .. int(ends))
  due_at(ends)
  tie(gateway, room)
end

-- Waiters of a lock without a holder: Redis lost the lock.
local lock = current(id, traceparent) or hand_on(id, traceparent)
if lock and lock.conn == conn then
  -- The newest operation counts: withdrawing an earlier one that was never answered must not release the lock.
  lock.ends, lock.op = now + ttl, math.max(lock.op, op)
  keep(id, lock)
  return answer('held', lock)
end
local ahead = 0
if lock then
  local own = id .. '\n' .. conn .. '\n'
  local mine = find_in_line(id, function(member, place)
    if string.sub(member, 1, #own) == own then return waiter_of(member, place) end
    ahead = ahead + 1
  end)
  if mine then
    if mine.op < op or mine.ends < now + wait then
      redis.call('ZREM', waiters, mine.member)
      remember(conn, op)
      stand_in_line(mine.place, math.max(mine.ends, now + wait))
    end
    return answer('waits', lock, ahead)
  end
end
untie_leaving()
local last = last_op(conn)
if last >= op then return { 'overtaken' } end
if lock and wait == 0 then return answer('taken', lock) end
if lock and redis.call('ZCARD', waiters) >= tonumber(ARGV[14]) then return { 'full' } end
if not lock and redis.call('HLEN', key('locks', room)) >= tonumber(ARGV[13]) then return { 'full' } end
remember(conn, op, last)
if lock then
  local end_of_line = redis.call('ZRANGE', waiters, -1, -1, 'WITHSCORES')
  stand_in_line(math.max(tonumber(end_of_line[2] or 0) + 1, now_us), now + wait)
  return answer('waits', lock, ahead)
end
lock = { ends = now + ttl, op = op, gateway = gateway, conn = conn, user = user }
grant(id, lock, traceparent)
return answer('held', lock)
