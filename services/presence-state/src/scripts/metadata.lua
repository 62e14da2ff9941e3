-- Sees to channels, in order, of any rooms of one hash slot; behind the verbs.
-- KEYS  those of channel.lua for each of them
-- ARGV  1 ms that metadata lives  2 the most bytes of a channel's keys and values  then, for each:
--       verb  channelType  op, 0 for one that needs no memory  author or ''  traceparent  options, '' for none, else
--       "majorRevision that the channel must have|-  note down when 0|1  and who 0|1  fence|-\nconn\nlockName" (one space
--       between each; the lock that conn must hold, under that fence; or '')  how many items there are
--       and for each of these: key  revision or ''  value or ''
-- Returns for each: {'ok' | 'again' (it had been carried out before), "majorRevision ms of its last change", {key, item, ...}}
-- or what kept it from happening: {'conflict', key or '', expected, actual} | {'absent', key or ''} | {'lock'} | {'large'} |
-- {'overtaken'} | {'failed', what Redis said}. The last ones are left out, and not carried out, when the answers grow long.
local LONG_BYTES = 1048576

local function carry_out(n, at)
  verb, op, author, traceparent = ARGV[at], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  read_options(ARGV[at + 5])
  local items = {}
  for i = at + 7, at + 4 + 3 * ARGV[at + 6], 3 do
    items[#items + 1] =
      { key = ARGV[i], revision = tonumber(ARGV[i + 1]), value = ARGV[i + 2], old_revision = nil, old_value = nil }
  end
  turn_to(n, ARGV[at + 1])
  return verbs[verb](items)
end

local answers, bytes, at = {}, 0, 3
for n = 1, #KEYS / 5 do
  if bytes > LONG_BYTES then break end
  -- One channel that cannot be read shall not spoil the others.
  local is_done, answer = pcall(carry_out, n, at)
  if not is_done then answer = { 'failed', type(answer) == 'table' and answer.err or tostring(answer) } end
  for _, part in ipairs(type(answer[3]) == 'table' and answer[3] or {}) do bytes = bytes + #part end
  answers[n], at = answer, at + 7 + 3 * ARGV[at + 6]
end
return answers
