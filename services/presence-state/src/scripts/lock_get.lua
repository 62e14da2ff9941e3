-- Tells who holds what.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 channelType, '' for all  2 lockName, '' for all
-- Returns {type, name, fence, ms of its end, conn, user, ...}
local found = {}
local all = redis.call('HGETALL', locks)
for i = 1, #all, 2 do
  local lock = lock_of(all[i + 1])
  local channel_type, name = string.match(all[i], '^([^\n]*)\n(.*)$')
  local asked = (ARGV[1] == '' or ARGV[1] == channel_type) and (ARGV[2] == '' or ARGV[2] == name)
  if asked and lock.ends > now then
    for _, part in ipairs({ channel_type, name, int(lock.fence), int(lock.ends), lock.conn, lock.user }) do
      found[#found + 1] = part
    end
  end
end
return found
