-- What every verb of a channel's metadata shares; put in front of them, behind clock.lua and lock.lua.
-- KEYS  five for each channel: 1 revisions  2 meta  3 the event channel of the room of the channel's name
--       4 done, the last operation that the connection carried out here  5 locks
-- revisions holds "majorRevision ms" for each type; meta holds "revision ms|-\nauthor\nvalue" for each key. A value is
-- the client's JSON and stays opaque here: cjson would break it.
local revisions, meta, events, done, locks, channel_type

-- Where the channel stands, as it is stored, and its majorRevision; 0 when it does not exist.
local position, major

-- Its items as they are stored, keys and texts by turns; where the text of each key stands; the bytes of it all.
local stored, places, size

-- Turns to the n-th channel of the call.
local function turn_to(n, of_type)
  local at = 5 * (n - 1)
  revisions, meta, events, done, locks = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3], KEYS[at + 4], KEYS[at + 5]
  channel_type, stored = of_type, nil
  position = redis.call('HGET', revisions, channel_type) or '0 0'
  major = tonumber(string.match(position, '^(%d+) %d+$'))
end

local function look()
  stored, places, size = redis.call('HGETALL', meta), {}, 0
  for at = 2, #stored, 2 do
    places[stored[at - 1]] = at
    size = size + #stored[at - 1] + #stored[at]
  end
end

-- The channel as it is answered.
local function record(status)
  if not stored then look() end
  return { status, position, stored }
end

-- What can be asked, by its verb; each takes the items.
local verbs = {}
