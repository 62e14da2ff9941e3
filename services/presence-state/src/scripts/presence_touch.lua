-- Moves last-seen times of connections on, of any rooms of one hash slot. No record is read, nothing is published.
-- KEYS  the last_seen of each room
-- ARGV  for each room: how many connections, then of each its age in milliseconds and its name
-- Returns the connections that have no record
local time = redis.call('TIME')
local now = math.floor(time[1] * 1000 + time[2] / 1000)

-- Lua's stack holds some 8,000 values: so many are handed to one command.
local PAIRS = 1000
local function move(last_seen, scores)
  local moved = 0
  for first = 1, #scores, 2 * PAIRS do
    local last = math.min(first + 2 * PAIRS - 1, #scores)
    local some = redis.pcall('ZADD', last_seen, 'XX', 'GT', 'CH', unpack(scores, first, last))
    if type(some) == 'table' then return some end
    moved = moved + some
  end
  return moved
end

local missing, at = {}, 0
for _, last_seen in ipairs(KEYS) do
  local count = tonumber(ARGV[at + 1])
  local scores = {}
  for i = at + 2, at + 2 * count, 2 do
    scores[#scores + 1] = now - ARGV[i]
    scores[#scores + 1] = ARGV[i + 1]
  end
  at = at + 1 + 2 * count
  local moved = move(last_seen, scores)
  if type(moved) == 'table' then
    -- A key that is no sorted set is this room's trouble alone; anything else concerns them all.
    if not string.find(moved.err, '^WRONGTYPE') then return moved end
    moved = 0
  end
  -- Fewer than asked: some are gone, or were already newer. Rare, so that asking which costs nothing usually.
  if moved < count then
    for i = 2, #scores, 2 do
      if type(redis.pcall('ZSCORE', last_seen, scores[i])) ~= 'string' then missing[#missing + 1] = scores[i] end
    end
  end
end
return missing
