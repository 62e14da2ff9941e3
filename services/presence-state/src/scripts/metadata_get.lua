-- Tells a channel's metadata.
-- KEYS  as in channel.lua
-- ARGV  as in channel.lua
-- Returns {'ok', majorRevision, ms of its last change, {key, item, ...}}
return record('ok')
