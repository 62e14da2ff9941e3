-- The names of a partition's keys, and its index of who has something to do with which room.
-- KEYS  what the keys of the partitions begin with, such as 'prs:{p17}'
local base = KEYS[1]

local function key(part, room) return base .. ':' .. part .. ':' .. room end

-- A gateway has members, locks or waiters in a room from now on.
local function tie(gateway, room)
  if redis.call('SADD', key('rooms', gateway), room) == 1 then redis.call('SADD', base .. ':gateways', gateway) end
end

-- A gateway has nothing to do with a room any more.
local function untie(gateway, room)
  local rooms = key('rooms', gateway)
  redis.call('SREM', rooms, room)
  if redis.call('EXISTS', rooms) == 0 then redis.call('SREM', base .. ':gateways', gateway) end
end
