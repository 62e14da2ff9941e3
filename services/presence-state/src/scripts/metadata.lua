-- Carries out channel commands, in order, in any rooms of one hash slot.
-- flags: by the verbs, see store/metadata.rs
-- needs: clock, call, history, partition, lives, stored_lock, channel, channel_write, metadata_get, metadata_set, metadata_update, metadata_remove, metadata_renew
-- KEYS  the partition of each of them
-- ARGV  3 the maximum bytes of a channel's keys and values  4 the maximum types of a name  then, for each:
--       verb  room  channelType  conn  op, 0 for one that needs no memory  author or ''  traceparent  options, '' for none, else
--       "majorRevision that the channel must have|-  note when 0|1  and who 0|1  fence|-\nlockName" (one space between
--       each; the lock that conn must hold, under that fence; or '')  how many items there are
--       and for each of these: key  revision or ''  value or ''
-- Returns for each: {'ok' | 'again' (it had been carried out before), "majorRevision ms history", {key, item, ...}}
-- or why it was refused: {'conflict', key or '', expected, actual} | {'absent', key or ''} | {'lock'} | {'large'} |
-- {'types'} | {'full'} | {'overtaken'} | {'failed', Redis' error}. When the answers grow long, the last commands are left out and not carried out.
local LONG_BYTES, FIRST, FIELDS = 1048576, 5, 9

local function carry_out(n, at)
  verb, writer, op, author, traceparent = ARGV[at], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  read_options(ARGV[at + 7])
  local items = {}
  for i = at + FIELDS, at + FIELDS - 1 + 3 * ARGV[at + FIELDS - 1], 3 do
    items[#items + 1] =
      { key = ARGV[i], revision = tonumber(ARGV[i + 1]), value = ARGV[i + 2], old_revision = nil, old_value = nil }
  end
  turn_to_channel(n, ARGV[at + 1], ARGV[at + 2])
  return verbs[verb](items)
end

local answers, bytes, at = {}, 0, FIRST
for n = 1, #KEYS do
  if bytes > LONG_BYTES then break end
  -- A channel that cannot be read must not fail the others.
  local is_done, answer = pcall(carry_out, n, at)
  if not is_done then answer = { 'failed', type(answer) == 'table' and answer.err or tostring(answer) } end
  for _, part in ipairs(type(answer[3]) == 'table' and answer[3] or {}) do bytes = bytes + #part end
  answers[n], at = answer, at + FIELDS + 3 * ARGV[at + FIELDS - 1]
end
return answers
