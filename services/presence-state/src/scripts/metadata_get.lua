-- Returns a channel's metadata.
-- needs: channel
function verbs.get() return record('ok') end
