-- Adds connections to a room, in order, and returns the members before, none if no join was carried out: who is refused must not cost
-- what a room of 8 MiB does. O(members), bounded by the size of a room.
-- needs: clock, call, history, partition, lives, room, stored_lock, locks, departure
-- KEYS  1 the partition
-- ARGV  3 room  4 the maximum members and  5 the maximum bytes of a room  then for each join: conn, user, gateway, op, known epoch,
--       content (see room.lua), traceparent
-- Returns {gen, {conn, record, ...} before, {status, seq, token, epoch, op, ...} for each join}
-- status: new | same (a repeated join changes nothing) | overtaken (the record has a later op) | full
local FIRST, FIELDS = 6, 7
turn_to(1, ARGV[3])
local members, most_members, most_bytes = count(), tonumber(ARGV[4]), tonumber(ARGV[5])
local before

local function look()
  before = before or redis.call('HGETALL', members_key)
end

local function join(conn, user, gateway, op, known, content, traceparent)
  local old = read(conn)
  if old and old.op == op then
    look()
    return 'same', old
  end
  if old and old.op > op then return 'overtaken', old end
  local record = {
    epoch = math.max(known + 1, (old and old.epoch or 0) + 1, now), op = op, gateway = gateway, user = user, content = content,
  }
  local growth = size(conn, record) - (old and size(conn, old) or 0)
  if (not old and members >= most_members) or (growth > 0 and (head and head.bytes or 0) + growth > most_bytes) then
    return 'full', old or record
  end
  look()
  -- Another user: an earlier join of the connection that was never answered, and whose leave has not arrived yet.
  if old and (old.user ~= user or old.gateway ~= gateway) then
    depart(conn, old, 'left', traceparent)
    old, members = nil, members - 1
  end
  if old then
    write(conn, record, growth)
    publish('update', '-', false, conn, record, traceparent)
  else
    local is_first = admit(conn, record)
    members = members + 1
    publish('join', '-', is_first, conn, record, traceparent)
  end
  return 'new', record
end

local joins = {}
for i = FIRST, #ARGV, FIELDS do
  local status, record = join(ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]),
    ARGV[i + 5], ARGV[i + 6])
  for _, part in ipairs({
    status, head and head.seq or '0', head and head.token or '0', int(record.epoch), int(record.op),
  }) do joins[#joins + 1] = part end
end
local gen = head and head.gen or '0'
close('')
return { gen, before or {}, joins }
