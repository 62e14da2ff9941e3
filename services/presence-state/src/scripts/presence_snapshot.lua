-- Tells who is in a room; what has outlived its TTL is not shown. O(members).
-- KEYS  as in room.lua
-- ARGV  1 ttl ms  2 the gen and  3 the seq that the caller knows, '' for none
-- Returns {gen, seq, {conn, record, ...}, {conn, last seen ms, ...} of the living}; {} when the room stands where the
-- caller knows it; gen 0 when there is no such room
local gen, seq = unpack(redis.call('HMGET', info, 'gen', 'seq'))
if gen and gen == ARGV[2] and seq == ARGV[3] then return {} end
return {
  gen or '0', seq or '0', redis.call('HGETALL', conns),
  redis.call('ZRANGEBYSCORE', last_seen, now - tonumber(ARGV[1]) + 1, '+inf', 'WITHSCORES'),
}
