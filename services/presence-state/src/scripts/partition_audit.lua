-- Compares a gateway's counts in a partition with the stored records, and repairs the index.
-- flags: allow-oom
-- needs: clock, call, partition
-- KEYS  1 the partition
-- ARGV  3 gateway  then for each room where the gateway has something: room, how many of its members are the gateway's
-- Returns {{rooms in which the numbers differ}, {rooms that the gateway has in the index and did not name}}
local gateway, named, differing, strays = ARGV[3], {}, {}, {}
for i = 4, #ARGV, 2 do
  local room, members = ARGV[i], tonumber(ARGV[i + 1])
  named[room] = true
  if members > 0 then
    tie(gateway, room)
    redis.call('SADD', base .. ':rooms', room)
  end
  local stored = tonumber(redis.call('HGET', key('room', room), 'g:' .. gateway) or 0)
  if stored ~= members or (members > 0 and redis.call('EXISTS', key('members', room)) == 0) then
    differing[#differing + 1] = room
  end
end
if redis.call('EXISTS', key('rooms', gateway)) == 1 then redis.call('SADD', base .. ':gateways', gateway) end
for _, room in ipairs(redis.call('SMEMBERS', key('rooms', gateway))) do
  if not named[room] then strays[#strays + 1] = room end
end
return { differing, strays }
