-- Removes items. Missing ones are ignored; if none exists, nothing changes.
-- needs: channel, channel_write
function verbs.remove(items)
  local refused = refusal()
  if refused then return refused end
  if not stored then look() end
  refused = item_refusal(items)
  if refused then return refused end
  local gone, message = {}, {}
  for _, item in ipairs(items) do
    if places[item.key] then
      gone[#gone + 1] = item.key
      local _, told = texts(item, item.old_value, item.old_revision)
      message[#gone] = told
    end
  end
  if #gone == 0 then return record('ok') end
  redis.call('HDEL', meta, unpack(gone))
  stored = nil
  return commit(message)
end

-- Removes all items.
function verbs.clear(items)
  look()
  for key in pairs(places) do items[#items + 1] = { key = key } end
  table.sort(items, function(a, b) return a.key < b.key end)
  verb = 'remove'
  return verbs.remove(items)
end
