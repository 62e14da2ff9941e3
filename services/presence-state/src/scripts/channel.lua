-- Shared by every verb of a channel's metadata.
-- needs: clock, call, history, partition, lives, stored_lock
-- revisions holds "majorRevision ms history" for each type; meta holds "revision history ms|-\nauthor\nvalue" for each key. A
-- value is the client's JSON and stays opaque here: cjson would break it.
local revisions, meta, events, channel_type

-- Reads the channel's revision record, its majorRevision (0 if it does not exist), and whether the history is still the same.
local position, major, is_continued

-- Its items as stored (alternating keys and texts), the index of each key's text, and the total bytes.
local stored, places, size

-- Selects a channel of the partition with the n-th key.
local function turn_to_channel(n, name, of_type)
  base, room, channel_type, stored = KEYS[n], name, of_type, nil
  revisions, meta, events = key('revisions', name), meta_key(of_type), key('events', name)
  position = redis.call('HGET', revisions, channel_type) or '0 0 -'
  local number, of = string.match(position, '^(%d+) %d+ (%S+)$')
  major, is_continued = tonumber(number), of == history()
end

-- Items whose revision was lost belong to no channel: it starts over without them.
local function look()
  stored, places, size = major > 0 and redis.call('HGETALL', meta) or {}, {}, 0
  for at = 2, #stored, 2 do
    places[stored[at - 1]] = at
    size = size + #stored[at - 1] + #stored[at]
  end
end

-- The channel as an answer.
local function record(status)
  if not stored then look() end
  return { status, position, stored }
end

-- The revision after `revision`. In another history it begins again from the clock: the lost history may have used the next
-- number.
local function next_revision(revision, is_same_history)
  if is_same_history then return revision + 1 end
  return math.max(now_us, revision + 1)
end

-- The handlers by verb; each takes the items.
local verbs = {}
