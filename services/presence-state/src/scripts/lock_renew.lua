-- Holds a lock longer.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 traceparent  2 channelType  3 lockName  4 conn  5 fence  6 ttl ms, from now on
-- Returns {'held', fence, ms of its end, conn, user} | {'lost'}
local id = ARGV[2] .. '\n' .. ARGV[3]
local lock = current(id, ARGV[1])
if not lock or lock.conn ~= ARGV[4] or lock.fence ~= tonumber(ARGV[5]) then return { 'lost' } end
lock.ends = now + tonumber(ARGV[6])
keep(id, lock)
return { 'held', int(lock.fence), int(lock.ends), lock.conn, lock.user }
