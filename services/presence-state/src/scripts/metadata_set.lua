-- Replaces a channel's metadata. An item's revision is the given one if it is positive, else 1.
-- needs: channel, channel_write
function verbs.set(items)
  local refused = refusal()
  if refused then return refused end
  local new, message, bytes = {}, {}, 0
  for n, item in ipairs(items) do
    local value = item.value == '' and '""' or item.value
    new[2 * n - 1] = item.key
    new[2 * n], message[n] = texts(item, value, item.revision and item.revision > 0 and item.revision or 1)
    bytes = bytes + #item.key + #value
  end
  if bytes > MOST_BYTES then return { 'large' } end
  if major == 0 and redis.call('HLEN', revisions) - redis.call('HEXISTS', revisions, '') >= MOST_TYPES then
    return { 'types' }
  end
  if is_nearly_full() then
    look()
    if major == 0 or bytes > content() then return { 'full' } end
  end
  redis.call('DEL', meta)
  if #new > 0 then redis.call('HSET', meta, unpack(new)) end
  stored = new
  return commit(message)
end
