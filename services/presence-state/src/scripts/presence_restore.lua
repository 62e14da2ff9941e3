-- Restores records that Redis lost, or holds in an older form than their gateway.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks, departure
-- KEYS  1 the partition
-- ARGV  3 room  4 gateway  5 traceparent  then for each record: conn, user, op, epoch, content (see room.lua)
-- Returns how many were written. A record with a later op stays as it is.
local FIRST, FIELDS = 6, 5
turn_to(1, ARGV[3])
count()
local written = 0
for i = FIRST, #ARGV, FIELDS do
  local conn, op, epoch = ARGV[i], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local old = read(conn)
  if not old or old.op < op or (old.op == op and old.epoch < epoch) then
    local record = {
      epoch = math.max(epoch, old and old.epoch or 0), op = op, gateway = ARGV[4], user = ARGV[i + 1], content = ARGV[i + 4],
    }
    if old and (old.user ~= record.user or old.gateway ~= record.gateway) then
      depart(conn, old, 'left', ARGV[5])
      old = nil
    end
    local is_first = false
    if old then write(conn, record, size(conn, record) - size(conn, old)) else is_first = admit(conn, record) end
    publish('restore', '-', is_first, conn, record, ARGV[5])
    written = written + 1
  end
end
close(ARGV[5])
return written
