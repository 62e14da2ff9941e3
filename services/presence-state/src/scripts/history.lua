-- The history of the data: the first digits of Redis' replication id, which is a new one each time that Redis starts again or
-- another node takes over. What was acknowledged before may be lost then. INFO costs 1.3 µs, so it is asked once in a call, and
-- not by what needs no history.
local known_history
local function history()
  if not known_history then
    known_history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x%x%x%x%x%x%x%x)')
  end
  return known_history
end
