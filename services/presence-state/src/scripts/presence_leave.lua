-- Removes a connection from its room on its own behalf.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks, departure
-- KEYS  1 the partition
-- ARGV  3 room  4 conn  5 op  6 reason  7 traceparent
-- Returns how many connections remain; -1 if there was nothing to remove (it left before, or joined again since).
turn_to(1, ARGV[3])
local record, op = count() > 0 and read(ARGV[4]), tonumber(ARGV[5])
-- A request to wait for a lock that arrives after this one is too late.
if redis.call('EXISTS', key('waiters', room)) == 1 then remember(ARGV[4], op) end
if not record or record.op > op then
  -- It was evicted and acquired a lock afterwards, or it joined again since: what it had before ends.
  drop_own(ARGV[4], op, ARGV[7])
  close(ARGV[7])
  return -1
end
depart(ARGV[4], record, ARGV[6], ARGV[7])
return close(ARGV[7])
