-- Lists locks and their holders.
-- flags: no-writes
-- needs: clock, partition, stored_lock
-- KEYS  1 the partition
-- ARGV  1 room  2 channelType, '' for all  3 lockName, '' for all
-- Returns {type, name, fence, ms of its end, conn, user, ...}
local found = {}
local all = redis.call('HGETALL', key('locks', ARGV[1]))
for i = 1, #all, 2 do
  local lock = lock_of(all[i + 1])
  local channel_type, name = string.match(all[i], '^([^\n]*)\n(.*)$')
  local is_asked = (ARGV[2] == '' or ARGV[2] == channel_type) and (ARGV[3] == '' or ARGV[3] == name)
  if is_asked and lock.ends > now then
    for _, part in ipairs({ channel_type, name, int(lock.fence), int(lock.ends), lock.conn, lock.user }) do
      found[#found + 1] = part
    end
  end
end
return found
