-- Ends what has outlived its TTL.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 traceparent
-- Returns {'done'}
settle(ARGV[1])
return { 'done' }
