#!lua flags=no-writes
-- Finds work in partitions.
-- KEYS  1.. the bases of the partitions' keys
-- Returns for each {{code of a gateway that has records there, ...}; how long its most overdue room has been due, ms, or -1 for
-- none; rooms that have members; the error if it cannot be read, or ''}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = {}
for i, base in ipairs(KEYS) do
  local gateways = redis.pcall('SMEMBERS', base .. ':gateways')
  local due = redis.pcall('ZRANGEBYSCORE', base .. ':due', '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)
  local rooms = redis.pcall('SCARD', base .. ':rooms')
  local failure = gateways.err or due.err or (type(rooms) == 'table' and rooms.err)
  if failure then
    seen[i] = { {}, -1, 0, failure }
  else
    seen[i] = { gateways, due[2] and math.floor(now - due[2]) or -1, rooms, '' }
  end
end
return seen
