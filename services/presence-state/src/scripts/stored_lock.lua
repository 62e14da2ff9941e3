-- A lock as stored: the field "type\nname" of a room's locks, "fence ms-of-its-end op\ngateway\nconn\nuser".
local function lock_of(text)
  if not text then return nil end
  local fence, ends, op, gateway, conn, user = string.match(text, '^(%d+) (%d+) (%d+)\n([^\n]*)\n([^\n]*)\n(.*)$')
  return { fence = tonumber(fence), ends = tonumber(ends), op = tonumber(op), gateway = gateway, conn = conn, user = user }
end
