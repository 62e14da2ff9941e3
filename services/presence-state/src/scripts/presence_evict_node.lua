-- Evicts the connections of a lost gateway, and ends their locks. Reads every record of the room: O(members).
-- KEYS  as in room.lua and locks.lua
-- ARGV  1 node  2 when its lease ended, ms: who was heard of later is spared, for the node is back  3 traceparent
-- Returns {evicted, remaining}
local node, lease_end = ARGV[1], tonumber(ARGV[2])
local evicted = 0
for _, conn in ipairs(redis.call('HKEYS', conns)) do
  local record = read(conn)
  if record and record.node == node and tonumber(redis.call('ZSCORE', last_seen, conn) or 0) <= lease_end then
    remove(conn, record, 'node_lost', ARGV[3])
    evicted = evicted + 1
  end
end
-- What it held here without being in the room, or waited for; who was spared keeps it.
drop(function(one) return one.node == node and redis.call('HEXISTS', conns, one.conn) == 0 end, ARGV[3])
return { evicted, redis.call('HLEN', conns) }
