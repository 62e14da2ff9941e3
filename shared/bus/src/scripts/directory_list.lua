#!lua flags=no-writes
-- Lists all instances that hold a lease, and some whose lease ended a moment ago.
-- KEYS  1 leases: sorted set, instance -> end of its lease, ms   2 changes: number of the last change
-- Returns {number of the last change; replication id; {instance, ...}}
local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''
return { tonumber(redis.call('GET', KEYS[2]) or 0), id, redis.call('ZRANGE', KEYS[1], 0, -1) }
