-- Evicts connections of gateways from a room: of gateways that are gone, or those that their gateway no longer knows.
-- Some 200 per call.
-- flags: allow-oom
-- needs: clock, call, history, partition, lives, room, stored_lock, locks, departure
-- KEYS  1 the partition
-- ARGV  3 room  4 cursor: 0 at the beginning, '' where the last call stopped  5 reason  6 traceparent  7 only records, locks and waiters that are
--       older than this, ms, 0 for all  8 whether the gateways' locks and waiters go too, 0|1  9 how many gateways
--       then these, then the connections that stay
-- Returns {next cursor, 0 at the end; how many were evicted; how many members remain}
local traceparent, before_ms, gateways, stays = ARGV[6], tonumber(ARGV[7]), {}, {}
for i = 10, 9 + ARGV[9] do gateways[ARGV[i]] = true end
for i = 10 + ARGV[9], #ARGV do stays[ARGV[i]] = true end
turn_to(1, ARGV[3])
-- An epoch far ahead of the clock was chosen by the client and says nothing about its age.
local function is_old(ms) return before_ms == 0 or ms < before_ms or ms > now + 60000 end
local function is_meant(conn, record) return gateways[record.gateway] and not stays[conn] and is_old(record.epoch) end

local cursor, evicted = '0', 0
if count() > 0 then
  local from = ARGV[4] ~= '' and ARGV[4] or redis.call('HGET', room_key, 'scan') or '0'
  cursor, evicted = evict(from, is_meant, ARGV[5], traceparent)
  if ARGV[4] == '' then
    if cursor ~= '0' then redis.call('HSET', room_key, 'scan', cursor) else redis.call('HDEL', room_key, 'scan') end
  end
end
if ARGV[8] == '1' and cursor == '0' then
  drop(function(one) return gateways[one.gateway] and is_old((one.fence or one.place) / 1000) end, traceparent)
end
for gateway in pairs(gateways) do leaving[gateway] = true end
return { cursor, evicted, close(traceparent) }
