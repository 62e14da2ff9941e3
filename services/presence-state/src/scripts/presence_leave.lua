-- Removes a connection from its room on its own behalf.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks, departure
-- KEYS  1 the partition
-- ARGV  3 room  4 conn  5 op  6 reason  7 traceparent
-- Returns how many connections remain; -1 if there was nothing to remove (it left before, or joined again since).
turn_to(1, ARGV[3])
local record = count() > 0 and read(ARGV[4])
if not record then
  -- It was evicted and acquired a lock afterwards.
  local op = tonumber(ARGV[5])
  drop_own(ARGV[4], op, ARGV[7])
  close(ARGV[7])
  return -1
end
if record.op > tonumber(ARGV[5]) then return -1 end
depart(ARGV[4], record, ARGV[6], ARGV[7])
return close(ARGV[7])
