-- Takes a connection out of its room on its own behalf.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 conn  2 op  3 reason  4 traceparent
-- Returns how many connections remain; -1 when there was nothing to take out (it left before, or came back since).
local record = read(ARGV[1])
if not record or record.op > tonumber(ARGV[2]) then return -1 end
return remove(ARGV[1], record, ARGV[3], ARGV[4])
