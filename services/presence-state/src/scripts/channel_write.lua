-- What the verbs that change a channel's metadata share.
-- needs: clock, call, history, partition, lives, lock, channel
-- ARGV  3 the most bytes of a channel's keys and values  4 the most types of a name
local MOST_BYTES, MOST_TYPES = tonumber(ARGV[3]), tonumber(ARGV[4])
-- A sender repeats for less than two seconds.
local REMEMBERED_MS = '30000'

-- Who writes under which conditions, see metadata.lua.
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

-- What keeps any write from happening; nil when nothing does.
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

-- The same for the revisions that items must have. Notes what each one that is there holds.
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

-- Whether the channel is too large once it has grown by so many bytes of keys and values. One that is already may shrink.
local function is_too_large(growth)
  if growth <= 0 or size + growth <= MOST_BYTES then return false end
  local bytes = growth
  for name, at in pairs(places) do bytes = bytes + #name + #string.match(stored[at], '^[^\n]*\n[^\n]*\n(.*)$') end
  return bytes > MOST_BYTES
end

-- An item as this writer has it stored, and as it is sent to members. Where the writer does not want recorded when or who, that
-- stays as it was in an item that is changed.
local function texts(item, value, revision)
  local number = int(revision)
  local when = notes_when and int(now) or item.old_when or '-'
  local who = notes_who and author or item.old_who or ''
  return number .. ' ' .. history() .. ' ' .. when .. '\n' .. who .. '\n' .. value,
    number .. ' ' .. #value .. '\n' .. item.key .. '\n' .. value .. '\n'
end

-- Ends a write whose items are stored: tells it, and answers the channel. A revision begins from the clock, so that a channel
-- that expired, was lost or was rolled back never has one of its earlier ones again.
local function commit(message)
  position = int(major > 0 and next_revision(major, is_continued) or now_us) .. ' ' .. int(now) .. ' ' .. history()
  redis.call('HSET', revisions, channel_type, position)
  if redis.call('EXISTS', key('room', room)) == 0 then expire_metadata() end
  if op ~= '0' then redis.call('SET', done_key(), op, 'PX', REMEMBERED_MS) end
  redis.call('SPUBLISH', events, 'm1 ' .. verb .. ' ' .. string.match(position, '^%d+ %d+') .. '\n' .. traceparent .. '\n' ..
    channel_type .. '\n' .. author .. '\n' .. table.concat(message))
  return record('ok')
end
