-- Changes states or epochs of connections, in order, in any rooms of one hash slot.
-- needs: clock, call, history, partition, lives, room
-- KEYS  the partition of each heartbeat
-- ARGV  3 the maximum bytes of a room  then for each heartbeat: room, conn, op, the op that the caller's copy of the state stems
--       from, the highest epoch that the caller knows, the client's epoch or -1 for the current one, the whole new state or
--       '' to leave it, traceparent
-- Returns for each a line: missing | overtaken | full | stale <epoch> | conflict <epoch> <op> <state> | ok <epoch> <op> <changed 0|1>
-- A record older than the caller's copy was rolled back and is overwritten: only its gateway writes it.
local FIRST, FIELDS, most_bytes = 4, 8, tonumber(ARGV[3])

local function heartbeat(conn, op, base_op, known, wanted, state, traceparent)
  local record = read(conn)
  if not record then return 'missing' end
  -- Repeated: it was carried out before, and a state is only sent to change one.
  if record.op == op then return 'ok ' .. int(record.epoch) .. ' ' .. int(op) .. (state ~= '' and ' 1' or ' 0') end
  if record.op > op then return 'overtaken' end
  local epoch = math.max(record.epoch, known)
  if wanted >= 0 and wanted < epoch then return 'stale ' .. int(epoch) end
  if record.op > base_op then
    return 'conflict ' .. int(record.epoch) .. ' ' .. int(record.op) .. ' ' .. record.state
  end
  -- The stored state is older than the copy, which was not sent; or the room's other key was lost. It has to be restored in full.
  if not head or (state == '' and record.op < base_op) then return 'missing' end
  local new = {
    epoch = math.max(epoch, wanted), op = op, gateway = record.gateway, user = record.user,
    state = state ~= '' and state or record.state,
  }
  local is_changed, growth = new.state ~= record.state, #new.state - #record.state
  if not is_changed and new.epoch == record.epoch then
    return 'ok ' .. int(record.epoch) .. ' ' .. int(record.op) .. ' 0'
  end
  if growth > 0 and head.bytes + growth > most_bytes then return 'full' end
  write(conn, new, record)
  if is_changed then publish('update', '-', false, conn, new, traceparent) end
  save()
  return 'ok ' .. int(new.epoch) .. ' ' .. int(op) .. (is_changed and ' 1' or ' 0')
end

local answers = {}
for n = 1, #KEYS do
  local at = FIRST + FIELDS * (n - 1)
  turn_to(n, ARGV[at])
  answers[n] = heartbeat(ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
    tonumber(ARGV[at + 5]), ARGV[at + 6], ARGV[at + 7])
end
return answers
