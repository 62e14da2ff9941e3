-- The locks of the channels of a room's name, and who waits for them; behind clock.lua and lock.lua.
-- KEYS  5 the room's event channel  6 revisions  7 locks  8 waiters  and, for whatever a connection asks, 9 done, the last
-- operation that it carried out here
-- A waiter is a member of waiters, "type\nname\nconn\nnode\nuser\nop ttl until", scored by its place in line. The field
-- '' of revisions is the last fence: one grows from the clock, also where it was forgotten.
local revisions, locks, waiters = KEYS[6], KEYS[7], KEYS[8]
-- A fence of which only the clock knows is remembered as long as a lock can be held.
local LONGEST_MS = 300000

-- A sender repeats for less than two seconds.
local REMEMBERED_MS = 30000

local function last_op() return tonumber(redis.call('GET', KEYS[9]) or 0) end

local function remember(op)
  if last_op() < op then redis.call('SET', KEYS[9], int(op), 'PX', REMEMBERED_MS) end
end

local function tell(change, id, lock, traceparent)
  redis.call('SPUBLISH', KEYS[5], 'l1 ' .. change .. ' ' .. int(lock.fence) .. ' ' .. int(lock.ends) .. ' ' ..
    int(lock.op) .. '\n' .. traceparent .. '\n' .. id .. '\n' .. lock.conn .. '\n' .. lock.user)
end

-- A key lives as long as anything in it, and a little more, lest nobody comes by to end that.
local function live_until(key, ends)
  local left = ends - now + 5000
  if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, int(left)) end
end

local function keep(id, lock)
  redis.call('HSET', locks, id, int(lock.fence) .. ' ' .. int(lock.ends) .. ' ' .. int(lock.op) .. '\n' ..
    lock.node .. '\n' .. lock.conn .. '\n' .. lock.user)
  live_until(locks, lock.ends)
end

local function grant(id, lock, traceparent)
  lock.fence = math.max(tonumber(redis.call('HGET', revisions, '') or 0) + 1, now_us)
  redis.call('HSET', revisions, '', int(lock.fence))
  if redis.call('PTTL', revisions) < 0 then redis.call('PEXPIRE', revisions, LONGEST_MS) end
  keep(id, lock)
  tell('acquired', id, lock, traceparent)
end

-- Who waits, in line, for one lock or for all.
local function line(id)
  local found = {}
  for _, member in ipairs(redis.call('ZRANGE', waiters, 0, -1)) do
    local of, conn, node, user, op, ttl, ends =
      string.match(member, '^([^\n]*\n[^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n(%d+) (%d+) (%d+)$')
    if not id or of == id then
      found[#found + 1] = {
        member = member, conn = conn, node = node, user = user, op = tonumber(op), ttl = tonumber(ttl), ends = tonumber(ends),
      }
    end
  end
  return found
end

-- Ends a lock; the first in line who still waits has it next.
local function let_go(id, lock, change, traceparent)
  redis.call('HDEL', locks, id)
  tell(change, id, lock, traceparent)
  for _, waiter in ipairs(line(id)) do
    redis.call('ZREM', waiters, waiter.member)
    if waiter.ends > now then
      local next = { ends = now + waiter.ttl, op = waiter.op, node = waiter.node, conn = waiter.conn, user = waiter.user }
      return grant(id, next, traceparent)
    end
  end
end

-- The lock as it is now, nil when nobody holds it; one that outlived its TTL ends here.
local function current(id, traceparent)
  local lock = lock_of(redis.call('HGET', locks, id))
  if not lock or lock.ends > now then return lock end
  let_go(id, lock, 'expired', traceparent)
  return lock_of(redis.call('HGET', locks, id))
end

-- Ends everything that has outlived its TTL; answers when the next lock ends, nil when none is held.
local function settle(traceparent)
  local ends
  for _, id in ipairs(redis.call('HKEYS', locks)) do
    local lock = current(id, traceparent)
    if lock then ends = math.min(ends or lock.ends, lock.ends) end
  end
  return ends
end

-- Takes the locks and the places in line from whoever `is_meant`. O(locks and waiters of the room's name).
local function drop(is_meant, traceparent)
  if redis.call('EXISTS', locks, waiters) == 0 then return end
  for _, waiter in ipairs(line()) do
    if is_meant(waiter) then redis.call('ZREM', waiters, waiter.member) end
  end
  local all = redis.call('HGETALL', locks)
  for i = 1, #all, 2 do
    local lock = lock_of(all[i + 1])
    if is_meant(lock) then let_go(all[i], lock, lock.ends > now and 'released' or 'expired', traceparent) end
  end
end
