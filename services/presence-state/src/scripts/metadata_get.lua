-- Tells a channel's metadata.
function verbs.get() return record('ok') end
