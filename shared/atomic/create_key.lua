#!lua
-- create_key: list a new API key in its organization.
--
-- KEYS    1 {org:X}:keys, hash, key id -> record, JSON
--         2 {org:X}:keys:used, hash, key id -> when last used, Unix ms
--         3 {org:X}:keys:events, stream, what has become of keys
--         4 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 id; one that is listed already gets the new digest: its attempt before died, and nobody has its secret
--         2 record, JSON, without created_ms
--         3 most keys that an organization may have
--         4 by whom
--         5 id of the request, '' without one
--         6 deadline of the attempt, Unix ms; '' without an Idempotency-Key
-- RETURNS the record, and the digest that does not serve any more, '' without one: the key's own from the attempt
--         before, or that of a key that was forgotten for it; or {'full'}; or {'late'}
-- INVARIANT  at most so many keys are listed; only one that is revoked or expired is forgotten, the oldest first

local keys, used, events, idempotency = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, record, most, by, request, deadline = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
-- include clock
-- include api_key

if not is_in_hand(idempotency, deadline) then
  return { 'late' }
end
local now_ms = read_clock_ms()
local before = read_key(keys, id)
local forgotten
if not before and redis.call('HLEN', keys) >= most then
  local listed = redis.call('HGETALL', keys)
  for i = 1, #listed, 2 do
    local key = cjson.decode(listed[i + 1])
    if not is_live(key, now_ms) and (not forgotten or key.created_ms < forgotten.created_ms) then
      forgotten = { id = listed[i], digest = key.digest, created_ms = key.created_ms }
    end
  end
  if not forgotten then
    return { 'full' }
  end
  redis.call('HDEL', keys, forgotten.id)
  redis.call('HDEL', used, forgotten.id)
end
local key = cjson.decode(record)
if before then
  -- It has its place among the keys, and who revoked it meanwhile meant it.
  key.created_ms, key.revoked_ms = before.created_ms, before.revoked_ms
else
  key.created_ms = now_ms
end
tell(events, 'created', id, by, request)
local dead = before or forgotten
return { write_key(keys, id, key), dead and dead.digest ~= key.digest and dead.digest or '' }
