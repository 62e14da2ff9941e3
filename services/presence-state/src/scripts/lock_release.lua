-- Lets a lock go.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 traceparent  2 channelType  3 lockName  4 conn  5 fence  6 op
-- Returns {'done'} | {'lost'}
local id, op = ARGV[2] .. '\n' .. ARGV[3], tonumber(ARGV[6])
-- Sent again: it was let go.
if last_op() == op then return { 'done' } end
local lock = current(id, ARGV[1])
if not lock or lock.conn ~= ARGV[4] or lock.fence ~= tonumber(ARGV[5]) then return { 'lost' } end
remember(op)
let_go(id, lock, 'released', ARGV[1])
return { 'done' }
