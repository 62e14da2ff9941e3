#!lua flags=no-writes
-- Says which history a server of a cluster goes on with. It reads no key: KEYS only leads the call to the server.
-- KEYS  1 what the keys of one of its partitions begin with
-- Returns {now, ms; replication id}
local time = redis.call('TIME')
local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
return { time[1] * 1000 + math.floor(time[2] / 1000), id }
