#!lua
-- revoke_key: end an API key for ever.
--
-- KEYS    1 {org:X}:keys, hash, key id -> record, JSON
--         2 {org:X}:keys:events, stream, what has become of keys
-- ARGV    1 id
--         2 by whom
--         3 id of the request, '' without one
--         4 channel on which processes hear of keys that changed
-- RETURNS the record, and 1 when it was not revoked until now, else 0; or false when there is no such key
-- INVARIANT  a key is revoked once, and stays so

local keys, events = KEYS[1], KEYS[2]
local id, by, request, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- include clock
-- include api_key

local key = read_key(keys, id)
if not key then
  return false
end
local is_news = not key.revoked_ms
if is_news then
  key.revoked_ms = read_clock_ms()
  write_key(keys, id, key)
  tell(events, 'revoked', id, by, request)
end
redis.call('PUBLISH', channel, id)
return { cjson.encode(key), is_news and 1 or 0 }
