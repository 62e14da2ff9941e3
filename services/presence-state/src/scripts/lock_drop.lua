-- Takes all locks and places in line from a connection.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 traceparent  2 conn  3 op
-- Returns {'done'}
local op = tonumber(ARGV[3])
remember(op)
drop(function(one) return one.conn == ARGV[2] and one.op <= op end, ARGV[1])
return { 'done' }
