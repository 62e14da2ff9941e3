#!lua flags=allow-oom
-- Records that tokens are revoked.
-- KEYS  1 moments: hash, subject -> tokens of it that were issued before this moment are revoked, s
--       2 order: sorted set, subject -> number of its revocation
-- ARGV  1 how long a revocation is kept, s   2 how many are kept at most
--       then for each: subject; moment, s, 0 for now: what was issued until now by an issuer whose clock may be 10 s ahead
-- Returns 1, or 0 if there is no room for all of them: then none was recorded.
-- A number is the time at which it was issued, in microseconds, and above every earlier one. So it also says when a revocation ends.
local moments, order, most = KEYS[1], KEYS[2], tonumber(ARGV[2])
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local text = function(number) return string.format('%.0f', number) end

local ended = redis.call('ZRANGEBYSCORE', order, '-inf', text(now_us - ARGV[1] * 1000000), 'LIMIT', 0, 1000)
if #ended > 0 then
  redis.call('ZREM', order, unpack(ended))
  redis.call('HDEL', moments, unpack(ended))
end

local last = tonumber(redis.call('ZRANGE', order, -1, -1, 'WITHSCORES')[2] or 0)
local count = redis.call('ZCARD', order)
for i = 3, #ARGV, 2 do
  if redis.call('HEXISTS', moments, ARGV[i]) == 0 then count = count + 1 end
end
if count > most then return 0 end

for i = 3, #ARGV, 2 do
  local subject, moment = ARGV[i], tonumber(ARGV[i + 1])
  if moment == 0 then moment = time[1] + 11 end
  -- One that is known already keeps its number, so that a gateway can repeat what Redis may have lost.
  if moment > tonumber(redis.call('HGET', moments, subject) or 0) then
    last = math.max(last + 1, now_us)
    redis.call('HSET', moments, subject, text(moment))
    redis.call('ZADD', order, text(last), subject)
  end
end
return 1
