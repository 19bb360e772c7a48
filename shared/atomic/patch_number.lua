#!lua
-- patch_number: change the routing of a resource.
--
-- KEYS    1 {org:X}:number:RID, hash, the resource
--         2 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 fingerprint of the request, '' when it has no Idempotency-Key
--         2 lifetime of an Idempotency-Key, seconds
--         3... field, value, field, value; '' clears
-- RETURNS list: 'patched', then field, value, ... of the resource; or 'unknown'; or 'reused'; a repeated request
--         gets 'again' and the first list
-- INVARIANT  a resource that is gone does not come back

local resource, idempotency, fingerprint, lifetime = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
-- include clock
-- include request

local repeated = reply_to_repeated(idempotency, fingerprint)
if repeated then
  return repeated
end
if redis.call('EXISTS', resource) == 0 then
  return { 'unknown' }
end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', resource, ARGV[i])
  else
    redis.call('HSET', resource, ARGV[i], ARGV[i + 1])
  end
end
if #ARGV > 2 then
  redis.call('HSET', resource, 'updated_ms', ms_text(read_clock_ms()))
end
return keep_reply(idempotency, fingerprint, lifetime, { 'patched', unpack(redis.call('HGETALL', resource)) })
