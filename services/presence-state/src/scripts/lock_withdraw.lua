-- Takes a connection out of the line for a lock, unless it stands there for a later operation. If the lock was granted meanwhile it is kept, and said so, or let go.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 traceparent  2 channelType  3 lockName  4 conn  5 the op that began to wait  6 keep 0|1
-- Returns {'held', fence, ms of its end, conn, user} | {'gone'}, behind it the same of the one who holds it, if any
local traceparent, id, conn, op = ARGV[1], ARGV[2] .. '\n' .. ARGV[3], ARGV[4], tonumber(ARGV[5])
for _, waiter in ipairs(line(id)) do
  if waiter.conn == conn and waiter.op <= op then redis.call('ZREM', waiters, waiter.member) end
end
-- What asks for it and comes later than this comes too late.
remember(op)
local lock = current(id, traceparent)
local status = 'gone'
if lock and lock.conn == conn and lock.op == op then
  if ARGV[6] == '1' then
    status = 'held'
  else
    let_go(id, lock, 'released', traceparent)
    lock = lock_of(redis.call('HGET', locks, id))
  end
end
if not lock then return { status } end
return { status, int(lock.fence), int(lock.ends), lock.conn, lock.user }
