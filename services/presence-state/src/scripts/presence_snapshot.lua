-- Lists the members of a room. O(members): at most as many as a room may have; O(1) where the caller knows the room.
-- flags: no-writes
-- needs: partition
-- KEYS  1 the partition
-- ARGV  1 room  2 the gen, 3 the seq and 4 the token that the caller knows, '' for none
-- Returns {gen, seq, token, {conn, record, ...}}; {} if the room stands where the caller knows it; gen 0 if there is none
local head = redis.call('HGET', key('room', ARGV[1]), 'head')
if not head or redis.call('EXISTS', key('members', ARGV[1])) == 0 then return { '0', '0', '0', {} } end
local gen, seq, token = string.match(head, '^(%d+) (%d+) (%d+) ')
if gen == ARGV[2] and seq == ARGV[3] and token == ARGV[4] then return {} end
return { gen, seq, token, redis.call('HGETALL', key('members', ARGV[1])) }
