-- What every script that writes begins with.
-- needs: clock
-- ARGV  1 the time after which no one waits for it any more, ms of Redis' clock; 0 for none
--       2 how long metadata lives after its last change and its room's last member, ms
if tonumber(ARGV[1]) > 0 and now > tonumber(ARGV[1]) then return redis.error_reply('LATE ' .. int(now)) end
local LIVES_MS = tonumber(ARGV[2])
