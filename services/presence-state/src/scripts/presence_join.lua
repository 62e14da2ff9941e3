-- Puts connections into a room, in order, and tells who was there before. Who joins is shown nobody that has outlived its
-- TTL: such are evicted first. Not by a restore, whose gateway was away, as may be those who are silent.
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 ttl ms  2 the most to evict  3 expiry of the room's keys ms  then for each join: conn, user, node, op,
--       known epoch, restore 0|1, state, traceparent
-- Returns {gen, now ms, {conn, record, ...} before, {conn, last seen ms, ...} before,
--          {seq, epoch, the record's op, new 0|1, ...} for each join, evicted}
-- A repeated join (same op) changes nothing. A restore of a record that is there changes nothing. An older op than the
-- record's is answered with epoch 0: it was overtaken.
local FIRST, FIELDS = 4, 8
local joining, fresh = {}, nil
for i = FIRST, #ARGV, FIELDS do
  joining[ARGV[i]] = true
  if ARGV[i + 5] == '0' then fresh = fresh or i end
end
local evicted = fresh and evict_expired(tonumber(ARGV[1]), tonumber(ARGV[2]), joining, ARGV[fresh + 7]) or 0
local before = redis.call('HGETALL', conns)
local seen = redis.call('ZRANGE', last_seen, 0, -1, 'WITHSCORES')
local gen = birth()
local joins = {}
for i = FIRST, #ARGV, FIELDS do
  local conn, op, known, restore = ARGV[i], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5] == '1'
  local record = read(conn)
  local seq, epoch, new = nil, nil, 0
  if record and (record.op == op or (restore and record.op < op)) then
    epoch = record.epoch
    redis.call('ZADD', last_seen, 'GT', now, conn)
  elseif record and record.op > op then
    epoch = 0
  else
    local first = false
    epoch = restore and known or math.max(known + 1, (record and record.epoch or 0) + 1, now)
    -- Another user's: an earlier join of the connection that was never answered, and whose leave has not come yet.
    if record and record.user ~= ARGV[i + 1] then
      remove(conn, record, 'left', ARGV[i + 7])
      record = nil
      gen = birth()
    end
    if not record then first = redis.call('HINCRBY', users, ARGV[i + 1], 1) == 1 end
    local kind = record and 'update' or (restore and 'restore' or 'join')
    record = { epoch = epoch, op = op, node = ARGV[i + 2], user = ARGV[i + 1], state = ARGV[i + 6] }
    write(conn, record)
    redis.call('ZADD', last_seen, now, conn)
    seq = publish(kind, '-', first, conn, record, ARGV[i + 7])
    new = 1
  end
  joins[#joins + 1] = tonumber(seq or redis.call('HGET', info, 'seq'))
  joins[#joins + 1] = int(epoch)
  joins[#joins + 1] = int(record.op)
  joins[#joins + 1] = new
end
expire(tonumber(ARGV[3]))
return { gen, int(now), before, seen, joins, evicted }
