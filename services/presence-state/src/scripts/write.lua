-- What the scripts that change a channel's metadata share; put behind lock.lua and channel.lua.
-- KEYS  4 done, the last operation that the connection carried out here  5 locks
-- ARGV  2 conn  3 op, 0 for one of our own that needs no memory  4 author or ''  5 the majorRevision that the channel must
--       have or ''  6 note down when 0|1  7 note down who 0|1  8 ms that the metadata lives  9 the most bytes of keys and
--       values  10 traceparent  11 the lock that the connection must hold or ''  12 under that fence or ''
--       then for each item: key, revision or '', value or ''
-- Returns what metadata_get does, with 'ok', or 'again' for a write that had been carried out before; or what kept it
-- from happening: {'conflict', key or '', expected, actual} | {'absent', key or ''} | {'lock'} |
-- {'large'} | {'overtaken'}
local done, op, author = KEYS[4], tonumber(ARGV[3]), ARGV[4]
-- A sender repeats for less than two seconds.
local REMEMBERED_MS = 30000

local asked = {}
for i = 13, #ARGV, 3 do
  asked[#asked + 1] = { key = ARGV[i], revision = tonumber(ARGV[i + 1]), value = ARGV[i + 2] }
end

-- The items, by key; each as it is stored.
local items = {}
local stored = redis.call('HGETALL', meta)
for i = 1, #stored, 2 do
  local revision, noted, by, value = string.match(stored[i + 1], '^(%d+) (%S+)\n([^\n]*)\n(.*)$')
  items[stored[i]] = { revision = tonumber(revision), noted = noted, author = by, value = value }
end
local major = position()

-- What keeps any write from happening; nil when nothing does.
local function refusal()
  local last = tonumber(redis.call('GET', done) or 0)
  if op > 0 and last == op then return record('again') end
  if op > 0 and last > op then return { 'overtaken' } end
  if ARGV[11] ~= '' then
    local lock = lock_of(redis.call('HGET', KEYS[5], channel_type .. '\n' .. ARGV[11]))
    local fence = tonumber(ARGV[12])
    if not lock or lock.ends <= now or lock.conn ~= ARGV[2] or (fence and fence ~= lock.fence) then return { 'lock' } end
  end
  local expected = tonumber(ARGV[5])
  if expected and expected ~= major then return { 'conflict', '', int(expected), int(major) } end
end

-- The same for the revisions that items must have.
local function item_refusal()
  for _, want in ipairs(asked) do
    local item = items[want.key]
    if item and want.revision and want.revision ~= item.revision then
      return { 'conflict', want.key, int(want.revision), int(item.revision) }
    end
  end
end

local function bytes(all)
  local sum = 0
  for key, item in pairs(all) do sum = sum + #key + #item.value end
  return sum
end

-- An item as this writer writes it.
local function written(value, revision)
  return {
    revision = revision, value = value, noted = ARGV[6] == '1' and int(now) or '-', author = ARGV[7] == '1' and author or '',
  }
end

local function told(key, item)
  return int(item.revision) .. ' ' .. #item.value .. '\n' .. key .. '\n' .. item.value .. '\n'
end

-- Stores an item; answers it as it is told.
local function put(key)
  local item = items[key]
  redis.call('HSET', meta, key, int(item.revision) .. ' ' .. item.noted .. '\n' .. item.author .. '\n' .. item.value)
  return told(key, item)
end

-- Ends a write whose items are stored: tells it, and answers the channel. A revision is born from the clock, so that a
-- channel that expired or was lost never has one of its earlier ones again.
local function commit(operation, message)
  major = major > 0 and major + 1 or now_us
  redis.call('HSET', revisions, channel_type, int(major) .. ' ' .. int(now))
  redis.call('PEXPIRE', revisions, ARGV[8])
  redis.call('PEXPIRE', meta, ARGV[8])
  if op > 0 then redis.call('SET', done, int(op), 'PX', REMEMBERED_MS) end
  redis.call('SPUBLISH', events, 'm1 ' .. operation .. ' ' .. int(major) .. ' ' .. int(now) .. '\n' .. ARGV[10] .. '\n' ..
    channel_type .. '\n' .. author .. '\n' .. table.concat(message))
  return record('ok')
end
