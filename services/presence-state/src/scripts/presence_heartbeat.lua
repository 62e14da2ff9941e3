-- Hears of connections, in order, of any rooms of one hash slot; changes their states or adopts their epochs.
-- KEYS  those of room.lua for each heartbeat
-- ARGV  six for each: 1 conn  2 op  3 the op that the caller's copy of the state stems from
--       4 the client's epoch, -1 for the current  5 the whole new state, '' leaves it  6 traceparent
-- Returns for each a line: missing | overtaken | stale <epoch> | conflict <epoch> <op> <state> | ok <epoch> <op> <changed 0|1>
local function heartbeat(conn, op, base_op, client_epoch, state, traceparent)
  local record = read(conn)
  if not record then return 'missing' end
  -- Sent again: it was taken, and a state is only sent to change one.
  if record.op == op then return 'ok ' .. int(record.epoch) .. ' ' .. int(op) .. (state ~= '' and ' 1' or ' 0') end
  if record.op > op then return 'overtaken' end
  if client_epoch >= 0 and client_epoch < record.epoch then return 'stale ' .. int(record.epoch) end
  if state ~= '' and record.op ~= base_op then
    return 'conflict ' .. int(record.epoch) .. ' ' .. int(record.op) .. ' ' .. record.state
  end
  local changed = state ~= '' and state ~= record.state
  if changed or client_epoch > record.epoch then
    record.epoch = math.max(record.epoch, client_epoch)
    record.op = op
    if changed then record.state = state end
    write(conn, record)
    if changed then publish('update', '-', false, conn, record, traceparent) end
  end
  redis.call('ZADD', last_seen, now, conn)
  return 'ok ' .. int(record.epoch) .. ' ' .. int(record.op) .. (changed and ' 1' or ' 0')
end

local answers = {}
for n = 1, #ARGV / 6 do
  turn_to(n)
  local at = 6 * (n - 1)
  answers[n] = heartbeat(ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]),
    ARGV[at + 5], ARGV[at + 6])
end
return answers
