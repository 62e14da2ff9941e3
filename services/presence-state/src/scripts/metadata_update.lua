-- Changes items that exist; the revision of each grows by one.
-- KEYS  as in channel.lua and write.lua
-- ARGV  as in channel.lua and write.lua
-- Returns what write.lua says
local refused = refusal()
if refused then return refused end
if major == 0 then return { 'absent', '' } end
for _, want in ipairs(asked) do
  if not items[want.key] then return { 'absent', want.key } end
end
refused = item_refusal()
if refused then return refused end
local before = bytes(items)
for _, want in ipairs(asked) do
  local old = items[want.key]
  items[want.key] = written(want.value == '' and old.value or want.value, old.revision + 1)
end
-- A channel that is too large may always shrink.
local after = bytes(items)
if after > tonumber(ARGV[9]) and after > before then return { 'large' } end
local message = {}
for n, want in ipairs(asked) do message[n] = put(want.key) end
return commit('update', message)
