-- A room: its position, sizes, records and events.
-- needs: clock, call, history, partition, lives
-- A record is "epoch\nop\ngateway\nuser\nstate"; an event is the text that protocol/src/event describes. The state is the
-- client's JSON and stays opaque here: cjson would break it.
local room_key, members_key, events_key

-- nil if the room does not exist.
local head

-- Gateways that may have nothing in the room any more, and connections that left it, in this call.
local leaving, departed

-- Selects a room of the partition with the n-th key.
local function turn_to(n, name)
  base, room = KEYS[n], name
  room_key, members_key, events_key = key('room', name), key('members', name), key('events', name)
  leaving, departed, head = {}, {}, nil
  local text = redis.call('HGET', room_key, 'head')
  if not text then return end
  local gen, seq, token, bytes, users, of = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%x+)$')
  head = {
    gen = tonumber(gen), seq = tonumber(seq), token = tonumber(token), bytes = tonumber(bytes), users = tonumber(users),
    history = of,
  }
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

local function parse(text)
  local epoch, op, gateway, user, state = string.match(text, '^(%d+)\n(%d+)\n([^\n]*)\n([^\n]*)\n(.*)$')
  return epoch and { epoch = tonumber(epoch), op = tonumber(op), gateway = gateway, user = user, state = state }
end

local function read(conn)
  local text = redis.call('HGET', members_key, conn)
  return text and parse(text) or nil
end

-- A lower bound of the record's bytes in an answer.
local function size(conn, record) return 120 + #conn + 2 * #record.user + #record.state end

-- `old` is the record that it replaces, if any.
local function write(conn, record, old)
  redis.call('HSET', members_key, conn, int(record.epoch) .. '\n' .. int(record.op) .. '\n' .. record.gateway .. '\n' ..
    record.user .. '\n' .. record.state)
  head.bytes = head.bytes + size(conn, record) - (old and size(conn, old) or 0)
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
    head = { gen = now_us, seq = 0, token = 0, bytes = 0, users = 0, history = history() }
    redis.call('SADD', base .. ':rooms', room)
    persist_metadata()
  end
  write(conn, record)
  count_gateway(record.gateway, 1)
  local is_first = redis.call('HINCRBY', room_key, 'u:' .. record.user, 1) == 1
  if is_first then head.users = head.users + 1 end
  return is_first
end

local function publish(kind, reason, edge, conn, record, traceparent)
  -- Lost events of another history may have used the next numbers: the room continues under a new generation.
  if head.history ~= history() then
    head.gen, head.seq, head.token, head.history = math.max(now_us, head.gen + 1), 0, 0, history()
  end
  local previous = head.token
  head.seq, head.token = head.seq + 1, math.max(now_us, previous + 1)
  redis.call('SPUBLISH', events_key,
    '2 ' .. int(head.gen) .. ' ' .. int(head.seq) .. ' ' .. int(head.token) .. ' ' .. int(previous) .. ' ' .. int(now) ..
    ' ' .. int(record.epoch) .. ' ' .. int(record.op) .. ' ' .. kind .. ' ' .. reason .. ' ' .. (edge and '1' or '0') ..
    '\n' .. traceparent .. '\n' .. conn .. '\n' .. record.user .. '\n' .. record.state)
end

-- Stores the room's position after the published events.
local function save()
  redis.call('HSET', room_key, 'head', int(head.gen) .. ' ' .. int(head.seq) .. ' ' .. int(head.token) .. ' ' ..
    int(head.bytes) .. ' ' .. int(head.users) .. ' ' .. head.history)
end
