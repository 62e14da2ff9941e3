-- A room: its position, sizes, records and events.
-- needs: clock, call, history, partition, lives
-- A record is "epoch\nop\ngateway\nuser\ninfo\nstate"; an event is the text that protocol/src/event describes. Info and state,
-- "info\nstate", are its content and stay opaque here: they are JSON from outside, and cjson would break it.
local room_key, members_key, events_key

-- nil if the room does not exist. Its numbers stay text until something is computed with them: a number costs 0.1 µs to
-- read and as much to write, and a heartbeat changes two of five.
local head

-- Gateways that may have nothing in the room any more, and connections that left it, in this call.
local leaving, departed = {}, {}

local call, match, now_text, now_us_text = redis.call, string.match, int(now), int(now_us)

-- Selects a room of the partition with the n-th key.
local function turn_to(n, name)
  base, room = KEYS[n], name
  room_key, members_key, events_key = key('room', name), key('members', name), key('events', name)
  if next(leaving) then leaving = {} end
  if next(departed) then departed = {} end
  head = nil
  local stored = call('HGET', room_key, 'head')
  if not stored then return end
  local gen, seq, token, bytes, users, of = match(stored, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%x+)$')
  -- Before anything is written.
  if not gen then error('the head of a room cannot be read') end
  head = { gen = gen, seq = seq, token = token, bytes = bytes, users = users, history = of }
end

-- The number of members. If one of the room's two keys was lost, the other is useless: the room starts over.
local function count()
  local members = redis.call('HLEN', members_key)
  if (head == nil) == (members == 0) then return members end
  redis.call('UNLINK', room_key, members_key)
  redis.call('SREM', base .. ':rooms', room)
  expire_metadata()
  head = nil
  return 0
end

-- A record whose epoch and op are still text.
local function split(text)
  local epoch, op, gateway, user, content = match(text, '^(%d+)\n(%d+)\n([^\n]*)\n([^\n]*)\n(.*)$')
  return epoch and { epoch = epoch, op = op, gateway = gateway, user = user, content = content }
end

local function parse(text)
  local record = split(text)
  if record then record.epoch, record.op = tonumber(record.epoch), tonumber(record.op) end
  return record
end

local function read(conn)
  local text = call('HGET', members_key, conn)
  return text and parse(text) or nil
end

-- The text of a number, which may be text already.
local function to_text(n) return type(n) == 'string' and n or int(n) end

-- At least the bytes that the record takes in an answer.
local function size(conn, record) return 120 + #conn + 2 * #record.user + #record.content end

-- The room's records take `by` bytes more.
local function grow(by)
  if by ~= 0 then head.bytes = int(head.bytes + by) end
end

-- `growth` is how much larger it is than the record that it takes the place of, if any.
local function write(conn, record, growth)
  call('HSET', members_key, conn, to_text(record.epoch) .. '\n' .. to_text(record.op) .. '\n' .. record.gateway .. '\n' ..
    record.user .. '\n' .. record.content)
  grow(growth)
end

local function count_gateway(gateway, by)
  local members = redis.call('HINCRBY', room_key, 'g:' .. gateway, by)
  if members <= 0 then
    redis.call('HDEL', room_key, 'g:' .. gateway)
    leaving[gateway] = true
  elseif members == by then
    tie(gateway, room)
  end
end

-- Adds a member. A room begins with its first one. Returns whether it is its user's first connection.
local function admit(conn, record)
  if not head then
    head = { gen = now_us_text, seq = '0', token = '0', bytes = '0', users = '0', history = history() }
    redis.call('SADD', base .. ':rooms', room)
    persist_metadata()
  end
  write(conn, record, size(conn, record))
  count_gateway(record.gateway, 1)
  local is_first = redis.call('HINCRBY', room_key, 'u:' .. record.user, 1) == 1
  if is_first then head.users = int(head.users + 1) end
  return is_first
end

local function publish(kind, reason, edge, conn, record, traceparent)
  -- Lost events of another history may have used the next numbers: the room continues under a new generation.
  if head.history ~= history() then
    head.gen, head.seq, head.token, head.history = int(math.max(now_us, head.gen + 1)), '0', '0', history()
  end
  local previous = head.token
  head.seq = int(head.seq + 1)
  head.token = now_us > tonumber(previous) and now_us_text or int(previous + 1)
  call('SPUBLISH', events_key,
    '3 ' .. head.gen .. ' ' .. head.seq .. ' ' .. head.token .. ' ' .. previous .. ' ' .. now_text .. ' ' ..
    to_text(record.epoch) .. ' ' .. to_text(record.op) .. ' ' .. kind .. ' ' .. reason .. (edge and ' 1\n' or ' 0\n') ..
    traceparent .. '\n' .. conn .. '\n' .. record.user .. '\n' .. record.content)
end

-- Stores the room's position after the published events.
local function save()
  call('HSET', room_key, 'head', head.gen .. ' ' .. head.seq .. ' ' .. head.token .. ' ' .. head.bytes .. ' ' .. head.users ..
    ' ' .. head.history)
end
