-- Extends a lock.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks
-- KEYS  1 the partition
-- ARGV  3 room  4 traceparent  5 channelType  6 lockName  7 conn  8 fence  9 ttl ms, from now
-- Returns {'held', fence, ms of its end, conn, user} | {'lost'}
turn_to(1, ARGV[3])
local id = ARGV[5] .. '\n' .. ARGV[6]
local lock = current(id, ARGV[4])
untie_leaving()
if not lock or lock.conn ~= ARGV[7] or lock.fence ~= tonumber(ARGV[8]) then return { 'lost' } end
lock.ends = now + tonumber(ARGV[9])
keep(id, lock)
return { 'held', int(lock.fence), int(lock.ends), lock.conn, lock.user }
