-- Takes a lock, holds it longer, or stands in line for it.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 traceparent  2 channelType  3 lockName  4 conn  5 op; one that asks again names the one that it began with
--       6 node  7 user  8 ttl ms  9 ms to wait, 0 for none  10 ms that the last fence is remembered
--       11 the most locks and  12 the most waiters of a room's name
-- Returns {status, fence, ms of its end, conn, user, how many are ahead}: held | waits | taken | full | overtaken
local traceparent, id, conn, op = ARGV[1], ARGV[2] .. '\n' .. ARGV[3], ARGV[4], tonumber(ARGV[5])
local ttl, wait = tonumber(ARGV[8]), tonumber(ARGV[9])

local function answer(status, lock, ahead)
  return { status, int(lock.fence), int(lock.ends), lock.conn, lock.user, int(ahead or 0) }
end

local lock = current(id, traceparent)
if lock and lock.conn == conn then
  lock.ends = now + ttl
  keep(id, lock)
  return answer('held', lock)
end
local places = line(id)
for n, waiter in ipairs(places) do
  if lock and waiter.conn == conn then return answer('waits', lock, n - 1) end
end
if last_op() >= op then return { 'overtaken' } end
if lock and wait == 0 then return answer('taken', lock) end
if redis.call('HLEN', locks) >= tonumber(ARGV[11]) or redis.call('ZCARD', waiters) >= tonumber(ARGV[12]) then
  return { 'full' }
end
remember(op)
if lock then
  local last = redis.call('ZRANGE', waiters, -1, -1, 'WITHSCORES')
  local place = math.max(tonumber(last[2] or 0) + 1, now_us)
  redis.call('ZADD', waiters, int(place),
    id .. '\n' .. conn .. '\n' .. ARGV[6] .. '\n' .. ARGV[7] .. '\n' .. int(op) .. ' ' .. int(ttl) .. ' ' .. int(now + wait))
  live_until(waiters, now + wait)
  return answer('waits', lock, #places)
end
lock = { ends = now + ttl, op = op, node = ARGV[6], conn = conn, user = ARGV[7] }
grant(id, lock, traceparent)
redis.call('PEXPIRE', revisions, ARGV[10])
return answer('held', lock)
