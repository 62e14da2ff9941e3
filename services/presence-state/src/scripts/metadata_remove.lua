-- Removes items, all of them where none are named; absent ones are passed over, and without any nothing changes.
-- KEYS  as in channel.lua and write.lua
-- ARGV  as in channel.lua and write.lua
-- Returns what write.lua says
local refused = refusal() or item_refusal()
if refused then return refused end
if #asked == 0 then
  for key in pairs(items) do asked[#asked + 1] = { key = key } end
  table.sort(asked, function(a, b) return a.key < b.key end)
end
local message = {}
for _, want in ipairs(asked) do
  local item = items[want.key]
  if item then
    redis.call('HDEL', meta, want.key)
    message[#message + 1] = told(want.key, item)
  end
end
if #message == 0 then return record('ok') end
return commit('remove', message)
