-- Redis' clock in microseconds and in milliseconds, and numbers as text.
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

-- Exact up to 2^53, unlike Lua's own conversion to text.
local function int(n) return string.format('%d', n) end
