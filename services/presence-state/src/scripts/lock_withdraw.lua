-- Removes a connection from the line for a lock, unless it waits there for a later operation. If the lock was granted meanwhile,
-- it is kept and reported, or released.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks
-- KEYS  1 the partition
-- ARGV  3 room  4 traceparent  5 channelType  6 lockName  7 conn  8 the op that began to wait  9 keep 0|1
-- Returns {'held', fence, ms of its end, conn, user} | {'gone'}, followed by the same of the current holder, if any
turn_to(1, ARGV[3])
local traceparent, id, conn, op = ARGV[4], ARGV[5] .. '\n' .. ARGV[6], ARGV[7], tonumber(ARGV[8])
local own = id .. '\n' .. conn .. '\n'
local mine = find_in_line(id, function(member, place)
  return string.sub(member, 1, #own) == own and waiter_of(member, place)
end)
if mine and mine.op <= op then stop_waiting(mine) end
-- A request for it that arrives after this one is too late.
remember(conn, op)
local lock = current(id, traceparent)
local status = 'gone'
if lock and lock.conn == conn and lock.op == op then
  if ARGV[9] == '1' then
    status = 'held'
  else
    lock = let_go(id, lock, 'released', traceparent)
  end
end
untie_leaving()
if not lock then return { status } end
return { status, int(lock.fence), int(lock.ends), lock.conn, lock.user }
