-- Replaces a channel's metadata. An item's revision is the given one if it is positive, else 1.
-- KEYS  as in channel.lua and write.lua
-- ARGV  as in channel.lua and write.lua
-- Returns what write.lua says
local refused = refusal()
if refused then return refused end
items = {}
for _, want in ipairs(asked) do
  local revision = want.revision and want.revision > 0 and want.revision or 1
  items[want.key] = written(want.value == '' and '""' or want.value, revision)
end
if bytes(items) > tonumber(ARGV[9]) then return { 'large' } end
redis.call('DEL', meta)
local message = {}
for n, want in ipairs(asked) do message[n] = put(want.key) end
return commit('set', message)
