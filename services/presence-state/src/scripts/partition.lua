-- The names of a partition's keys, and its index of gateways and rooms.
-- KEYS  the bases of the partitions' keys, such as 'prs:{p17}'
local base = KEYS[1]

local function key(part, room) return base .. ':' .. part .. ':' .. room end

-- A gateway now has members, locks or waiters in a room.
local function tie(gateway, room)
  if redis.call('SADD', key('rooms', gateway), room) == 1 then redis.call('SADD', base .. ':gateways', gateway) end
end

-- A gateway has nothing in a room any more.
local function untie(gateway, room)
  local rooms = key('rooms', gateway)
  redis.call('SREM', rooms, room)
  if redis.call('EXISTS', rooms) == 0 then redis.call('SREM', base .. ':gateways', gateway) end
end
