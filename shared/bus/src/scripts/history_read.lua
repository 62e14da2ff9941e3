#!lua flags=no-writes
-- Returns the history of a cluster's server. Reads no key: KEYS only routes the call to the server.
-- KEYS  1 base of the keys of one of its partitions
-- Returns {now, ms; replication id}
local time = redis.call('TIME')
local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
return { time[1] * 1000 + math.floor(time[2] / 1000), id }
