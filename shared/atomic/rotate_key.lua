#!lua
-- rotate_key: give an API key another secret; the one before is dead at once.
--
-- KEYS    1 {org:X}:keys, hash, key id -> record, JSON
--         2 {org:X}:keys:events, stream, what has become of keys
--         3 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 id
--         2 digest of the new secret
--         3 visible part of the new secret
--         4 by whom
--         5 id of the request, '' without one
--         6 channel on which processes hear of keys that changed
--         7 deadline of the attempt, Unix ms; '' without an Idempotency-Key
-- RETURNS the record, and the digest of the secret before; {'dead'} of a key that is revoked or expired; or {'unknown'};
--         or {'late'}
-- INVARIANT  a key has one secret; who is dead stays dead

local keys, events, idempotency = KEYS[1], KEYS[2], KEYS[3]
local id, digest, prefix, by, request = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local channel, deadline = ARGV[6], ARGV[7]
-- include clock
-- include api_key

local key = read_key(keys, id)
if not is_in_hand(idempotency, deadline) then
  return { 'late' }
elseif not key then
  return { 'unknown' }
elseif not is_live(key, read_clock_ms()) then
  return { 'dead' }
end
local before = key.digest
key.digest, key.prefix = digest, prefix
tell(events, 'rotated', id, by, request)
redis.call('PUBLISH', channel, id)
return { write_key(keys, id, key), before }
