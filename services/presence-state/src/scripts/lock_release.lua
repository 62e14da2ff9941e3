-- Releases a lock.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks
-- KEYS  1 the partition
-- ARGV  3 room  4 traceparent  5 channelType  6 lockName  7 conn  8 fence  9 op
-- Returns {'done'} | {'lost'}
turn_to(1, ARGV[3])
local id, conn, op = ARGV[5] .. '\n' .. ARGV[6], ARGV[7], tonumber(ARGV[9])
-- Repeated: the lock was released before.
local last = last_op(conn)
if last == op then return { 'done' } end
local lock = current(id, ARGV[4])
local is_held = lock and lock.conn == conn and lock.fence == tonumber(ARGV[8])
-- Repeated, and the connection has acquired the lock since: that one stays.
if is_held and lock.op > op then
  untie_leaving()
  return { 'done' }
end
if is_held then
  remember(conn, op, last)
  let_go(id, lock, 'released', ARGV[4])
end
untie_leaving()
return { is_held and 'done' or 'lost' }
