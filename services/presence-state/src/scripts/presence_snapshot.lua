-- Lists the members of a room. O(members), bounded by the size of a room; O(1) if the caller knows the current position.
-- flags: no-writes
-- needs: partition
-- KEYS  1 the partition
-- ARGV  1 room  2 the gen, 3 the seq and 4 the token that the caller knows, '' for none
-- Returns {gen, seq, token, {conn, record, ...}}; {} if the position is the one that the caller knows; gen 0 if there is no room
local head = redis.call('HGET', key('room', ARGV[1]), 'head')
if not head or redis.call('EXISTS', key('members', ARGV[1])) == 0 then return { '0', '0', '0', {} } end
local gen, seq, token = string.match(head, '^(%d+) (%d+) (%d+) ')
if gen == ARGV[2] and seq == ARGV[3] and token == ARGV[4] then return {} end
return { gen, seq, token, redis.call('HGETALL', key('members', ARGV[1])) }
