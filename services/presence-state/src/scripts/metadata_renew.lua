-- Gives a channel whose last changes Redis lost a revision above every known one, and publishes its content.
-- needs: channel, channel_write
function verbs.renew()
  local refused = refusal()
  if refused then return refused end
  if is_continued then return record('ok') end
  look()
  local message = {}
  for n = 1, #stored, 2 do
    local revision, value = string.match(stored[n + 1], '^(%d+) %S+ %S+\n[^\n]*\n(.*)$')
    local _, told = texts({ key = stored[n] }, value, tonumber(revision))
    message[#message + 1] = told
  end
  verb = 'set'
  return commit(message)
end
