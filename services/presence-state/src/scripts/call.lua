-- The beginning of every script that writes.
-- needs: clock
-- ARGV  1 not_after: the time after which nothing may be changed, ms of Redis' clock; 0 for none
--       2 how long metadata lives after its last change and after its room's last member, ms
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then return redis.error_reply('LATE ' .. int(now)) end
local LIVES_MS = tonumber(ARGV[2])
