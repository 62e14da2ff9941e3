-- Changes states or epochs of connections, in order, in any rooms of one hash slot.
-- needs: clock, call, history, partition, lives, room
-- KEYS  the partition of each heartbeat
-- ARGV  3 the maximum bytes of a room  then for each heartbeat: room, conn, op, the op that the caller's copy of the state stems
--       from, the highest epoch that the caller knows, the client's epoch or -1 for the current one, the whole new content
--       (see room.lua) or '' to leave it, traceparent. Numbers stay text where that is enough
-- Returns for each a line: missing | overtaken | full | stale <epoch> | conflict <epoch> <op> <content> | ok <epoch> <op> <changed 0|1>
-- A record older than the caller's copy was rolled back and is overwritten: only its gateway writes it.
local FIRST, FIELDS, most_bytes = 4, 8, tonumber(ARGV[3])
local ARGV = ARGV

local function heartbeat(conn, op, base_op, known, wanted, content, traceparent)
  local stored = call('HGET', members_key, conn)
  local record = stored and split(stored)
  if not record then return 'missing' end
  -- Repeated: it was carried out before, and content is only sent to change it.
  if record.op == op then return 'ok ' .. record.epoch .. ' ' .. op .. (content ~= '' and ' 1' or ' 0') end
  local stands_at = tonumber(record.op)
  if stands_at > tonumber(op) then return 'overtaken' end
  local epoch = record.epoch
  if known ~= epoch and tonumber(known) > tonumber(epoch) then epoch = known end
  if wanted ~= '-1' and wanted ~= epoch then
    if tonumber(wanted) < tonumber(epoch) then return 'stale ' .. epoch end
    epoch = wanted
  end
  base_op = tonumber(base_op)
  if stands_at > base_op then return 'conflict ' .. record.epoch .. ' ' .. record.op .. ' ' .. record.content end
  -- The record is older than the copy, which was not sent; or the room's other key was lost. It has to be restored in full.
  if not head or (content == '' and stands_at < base_op) then return 'missing' end
  local is_changed, growth = content ~= '' and content ~= record.content, 0
  if not is_changed and epoch == record.epoch then return 'ok ' .. epoch .. ' ' .. record.op .. ' 0' end
  if is_changed then growth, record.content = #content - #record.content, content end
  if growth > 0 and head.bytes + growth > most_bytes then return 'full' end
  record.epoch, record.op = epoch, op
  write(conn, record, growth)
  if is_changed then publish('update', '-', false, conn, record, traceparent) end
  save()
  return 'ok ' .. epoch .. ' ' .. op .. (is_changed and ' 1' or ' 0')
end

local answers = {}
for n = 1, #KEYS do
  local at = FIRST + FIELDS * (n - 1)
  turn_to(n, ARGV[at])
  answers[n] = heartbeat(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7])
end
return answers
