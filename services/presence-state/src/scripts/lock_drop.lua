-- Removes all locks and waits of a connection.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks
-- KEYS  1 the partition
-- ARGV  3 room  4 traceparent  5 conn  6 op
-- Returns {'done'}
turn_to(1, ARGV[3])
local op = tonumber(ARGV[6])
remember(ARGV[5], op)
drop_own(ARGV[5], op, ARGV[4])
untie_leaving()
return { 'done' }
