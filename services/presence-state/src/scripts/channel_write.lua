-- Shared by the verbs that change a channel's metadata.
-- needs: clock, call, history, partition, lives, stored_lock, channel
-- ARGV  3 the maximum bytes of a channel's keys and values  4 the maximum types of a name
local MOST_BYTES, MOST_TYPES = tonumber(ARGV[3]), tonumber(ARGV[4])
-- Senders repeat a command for less than two seconds.
local REMEMBERED_MS = '30000'

-- The author and conditions of the write, see metadata.lua.
local verb, op, author, expected, notes_when, notes_who, fence, writer, lock_name, traceparent

local function read_options(text)
  if text == '' then
    expected, notes_when, notes_who, fence, lock_name = nil, false, false, nil, ''
    return
  end
  local revision, when, who, number, lock = string.match(text, '^(%S+) (%S+) (%S+) (%S+)\n([^\n]*)$')
  expected, notes_when, notes_who = tonumber(revision), when == '1', who == '1'
  fence, lock_name = tonumber(number), lock
end

local function done_key() return base .. ':done:' .. writer .. ':' .. room end

-- The reason why any write is refused; nil if there is none.
local function refusal()
  local last = op ~= '0' and redis.call('GET', done_key())
  if last == op then return record('again') end
  if last and tonumber(last) > tonumber(op) then return { 'overtaken' } end
  if lock_name ~= '' then
    local lock = lock_of(redis.call('HGET', key('locks', room), channel_type .. '\n' .. lock_name))
    if not lock or lock.ends <= now or lock.conn ~= writer or (fence and fence ~= lock.fence) then return { 'lock' } end
  end
  if expected and expected ~= major then return { 'conflict', '', int(expected), int(major) } end
end

-- The same for the revisions that items must have. Records the content of each existing item.
local function item_refusal(items)
  for _, item in ipairs(items) do
    local at = places[item.key]
    if at then
      local revision, of, when, who, value = string.match(stored[at], '^(%d+) (%S+) (%S+)\n([^\n]*)\n(.*)$')
      item.old_revision, item.old_value, item.is_continued = tonumber(revision), value, of == history()
      item.old_when, item.old_who = when, who
      if item.revision and item.revision ~= item.old_revision then
        return { 'conflict', item.key, int(item.revision), int(item.old_revision) }
      end
    end
  end
end

-- The exact bytes of its keys and values.
local function content()
  local bytes = 0
  for name, at in pairs(places) do bytes = bytes + #name + #string.match(stored[at], '^[^\n]*\n[^\n]*\n(.*)$') end
  return bytes
end

-- Whether the channel is too large after growing by these bytes of keys and values. A channel that is already too large may
-- shrink.
local function is_too_large(growth)
  if growth <= 0 or size + growth <= MOST_BYTES then return false end
  return growth + content() > MOST_BYTES
end

-- Above this share of maxmemory nothing more is stored in channels: the rest is for presence.
local MOST_PERCENT = 80

-- Whether a write that grows its channel is refused. INFO costs 6 µs, so it runs once per call. presence-state's own writes, which
-- have no writer, replace what Redis lost.
local known_fullness
local function is_nearly_full()
  if writer == '' then return false end
  if known_fullness == nil then
    local memory = redis.call('INFO', 'memory')
    local number = function(name) return tonumber(string.match(memory, '\n' .. name .. ':(%d+)') or 0) end
    local most, used = number('maxmemory'), number('used_memory') - number('mem_not_counted_for_evict')
    known_fullness = most > 0 and used * 100 > most * MOST_PERCENT
  end
  return known_fullness
end

-- An item as stored, and as sent to members. If the writer records no time or no author, a changed item keeps its old ones.
local function texts(item, value, revision)
  local number = int(revision)
  local when = notes_when and int(now) or item.old_when or '-'
  local who = notes_who and author or item.old_who or ''
  return number .. ' ' .. history() .. ' ' .. when .. '\n' .. who .. '\n' .. value,
    number .. ' ' .. #value .. '\n' .. item.key .. '\n' .. value .. '\n'
end

-- Finishes a write whose items are stored: publishes the change and answers the channel. Revisions begin from the clock, so a
-- channel that expired, was lost or was rolled back never repeats an earlier one.
local function commit(message)
  position = int(major > 0 and next_revision(major, is_continued) or now_us) .. ' ' .. int(now) .. ' ' .. history()
  redis.call('HSET', revisions, channel_type, position)
  if redis.call('EXISTS', key('room', room)) == 0 then expire_metadata() end
  if op ~= '0' then redis.call('SET', done_key(), op, 'PX', REMEMBERED_MS) end
  redis.call('SPUBLISH', events, 'm1 ' .. verb .. ' ' .. string.match(position, '^%d+ %d+') .. '\n' .. traceparent .. '\n' ..
    channel_type .. '\n' .. author .. '\n' .. table.concat(message))
  return record('ok')
end
