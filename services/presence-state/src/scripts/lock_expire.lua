-- Ends the locks of a room's name whose TTL is over.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks
-- KEYS  1 the partition
-- ARGV  3 room  4 traceparent
-- Returns {'done'}
turn_to(1, ARGV[3])
settle(ARGV[4])
untie_leaving()
return { 'done' }
