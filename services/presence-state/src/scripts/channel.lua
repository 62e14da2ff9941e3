-- What every verb of a channel's metadata shares.
-- needs: clock, call, history, partition, lives, lock
-- revisions holds "majorRevision ms history" for each type; meta holds "revision history ms|-\nauthor\nvalue" for each key. A
-- value is the client's JSON and stays opaque here: cjson would break it.
local revisions, meta, events, channel_type

-- Where the channel stands, its majorRevision (0 if it does not exist), and whether Redis has had that history since.
local position, major, is_continued

-- Its items as they are stored, keys and texts by turns; where the text of each key stands; the bytes of it all.
local stored, places, size

-- Turns to a channel of the partition with the n-th key.
local function turn_to_channel(n, name, of_type)
  base, room, channel_type, stored = KEYS[n], name, of_type, nil
  revisions, meta, events = key('revisions', name), meta_key(of_type), key('events', name)
  position = redis.call('HGET', revisions, channel_type) or '0 0 -'
  local number, of = string.match(position, '^(%d+) %d+ (%S+)$')
  major, is_continued = tonumber(number), of == history()
end

-- Items whose revision was lost are of no channel: it begins again without them.
local function look()
  stored, places, size = major > 0 and redis.call('HGETALL', meta) or {}, {}, 0
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

-- The revision after `revision`. It begins again from the clock where the history of the data is another one: what followed in
-- the lost one may have had the next number.
local function next_revision(revision, is_same_history)
  if is_same_history then return revision + 1 end
  return math.max(now_us, revision + 1)
end

-- What can be asked, by its verb; each takes the items.
local verbs = {}
