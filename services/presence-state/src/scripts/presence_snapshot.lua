-- Tells who is in a room: also who has outlived its TTL and is not evicted yet, for members have been shown it. O(members).
-- KEYS  as in room.lua
-- ARGV  1 the gen and  2 the seq that the caller knows, '' for none
-- Returns {gen, seq, {conn, record, ...}, {conn, last seen ms, ...}}; {} when the room stands where the caller knows it;
-- gen 0 when there is no such room
local gen, seq = unpack(redis.call('HMGET', info, 'gen', 'seq'))
if gen and gen == ARGV[1] and seq == ARGV[2] then return {} end
return {
  gen or '0', seq or '0', redis.call('HGETALL', conns), redis.call('ZRANGE', last_seen, 0, -1, 'WITHSCORES'),
}
