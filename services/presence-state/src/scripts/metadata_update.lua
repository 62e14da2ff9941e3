-- Changes items that exist; the revision of each grows by one.
-- needs: channel, channel_write
function verbs.update(items)
  local refused = refusal()
  if refused then return refused end
  if major == 0 then return { 'absent', '' } end
  look()
  for _, item in ipairs(items) do
    if not places[item.key] then return { 'absent', item.key } end
  end
  refused = item_refusal(items)
  if refused then return refused end
  local growth = 0
  for _, item in ipairs(items) do
    if item.value == '' then item.value = item.old_value end
    growth = growth + #item.value - #item.old_value
  end
  if is_too_large(growth) then return { 'large' } end
  if growth > 0 and is_nearly_full() then return { 'full' } end
  local new, message = {}, {}
  for n, item in ipairs(items) do
    local text
    text, message[n] = texts(item, item.value, next_revision(item.old_revision, item.is_continued))
    new[2 * n - 1], new[2 * n], stored[places[item.key]] = item.key, text, text
  end
  if #new > 0 then redis.call('HSET', meta, unpack(new)) end
  return commit(message)
end
