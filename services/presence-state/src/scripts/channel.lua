-- What every script of a channel's metadata shares; put in front of each of them, behind clock.lua.
-- KEYS  1 revisions  2 meta  3 the event channel of the room of the channel's name
-- ARGV  1 channelType
-- revisions holds "majorRevision ms" for each type; meta holds "revision ms|-\nauthor\nvalue" for each key. A value is
-- the client's JSON and stays opaque here: cjson would break it.
local revisions, meta, events = KEYS[1], KEYS[2], KEYS[3]
local channel_type = ARGV[1]

-- The channel's majorRevision and when it changed; 0 when it does not exist.
local function position()
  local text = redis.call('HGET', revisions, channel_type)
  if not text then return 0, 0 end
  local major, changed = string.match(text, '^(%d+) (%d+)$')
  return tonumber(major), tonumber(changed)
end

local function record(status)
  local major, changed = position()
  return { status, int(major), int(changed), redis.call('HGETALL', meta) }
end
