-- All metadata of a room's name lives and ends together: as long as the room has members, and LIVES_MS after that.
-- needs: call, partition
local room

local function meta_key(channel_type) return base .. ':meta:' .. #channel_type .. ':' .. channel_type .. ':' .. room end

-- Runs a command on the revisions and on the items of each type. O(types of the name).
local function for_metadata(command, ...)
  local revisions = key('revisions', room)
  for _, channel_type in ipairs(redis.call('HKEYS', revisions)) do
    if channel_type ~= '' then redis.call(command, meta_key(channel_type), ...) end
  end
  redis.call(command, revisions, ...)
end

-- The room now has members.
local function persist_metadata()
  if redis.call('EXISTS', key('revisions', room)) == 1 then for_metadata('PERSIST') end
end

-- The room has no members any more, or metadata changed while it has none.
local function expire_metadata()
  if redis.call('EXISTS', key('revisions', room)) == 1 then for_metadata('PEXPIRE', int(LIVES_MS)) end
end
