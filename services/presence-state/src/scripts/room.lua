-- What every script of a room shares; put in front of each of them, behind clock.lua.
-- KEYS  1 conns  2 last_seen  3 users  4 info  5 the room's event channel; five more for each further room
-- A record is "epoch\nop\nnode\nuser\nstate"; an event is the text that protocol/src/event.rs describes. The state is
-- the client's JSON and stays opaque here: cjson would break it.
local conns, last_seen, users, info, events

-- Turns to the n-th room of the call.
local function turn_to(n)
  local at = 5 * (n - 1)
  conns, last_seen, users, info, events = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3], KEYS[at + 4], KEYS[at + 5]
end
turn_to(1)

local function read(conn)
  local text = redis.call('HGET', conns, conn)
  if not text then return nil end
  local epoch, op, node, user, state = string.match(text, '^(%d+)\n(%d+)\n([^\n]*)\n([^\n]*)\n(.*)$')
  return { epoch = tonumber(epoch), op = tonumber(op), node = node, user = user, state = state }
end

local function write(conn, record)
  redis.call('HSET', conns, conn,
    int(record.epoch) .. '\n' .. int(record.op) .. '\n' .. record.node .. '\n' .. record.user .. '\n' .. record.state)
end

-- The room's birth; a room is born when the first connection enters it. Births of one name only grow.
local function birth()
  local gen = redis.call('HGET', info, 'gen')
  if not gen then
    gen = int(now_us)
    redis.call('HSET', info, 'gen', gen, 'seq', 0)
  end
  return gen
end

local function publish(kind, reason, edge, conn, record, traceparent)
  local gen = birth()
  local seq = redis.call('HINCRBY', info, 'seq', 1)
  redis.call('SPUBLISH', events,
    '1 ' .. gen .. ' ' .. int(seq) .. ' ' .. int(now) .. ' ' .. int(record.epoch) .. ' ' .. kind .. ' ' .. reason ..
    ' ' .. (edge and '1' or '0') .. '\n' .. traceparent .. '\n' .. conn .. '\n' .. record.user .. '\n' .. record.state)
  return seq
end

local function expire(ms)
  for _, key in ipairs({ conns, last_seen, users, info }) do redis.call('PEXPIRE', key, ms) end
end
