#!lua
-- begin_request: take a request with an Idempotency-Key in hand, or tell what has become of it.
--
-- KEYS    1 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 fingerprint of the request
--         2 lifetime of an Idempotency-Key, seconds
--         3 id of what the request makes, unless an attempt before has named it
--         4 how long an attempt may take, ms
-- RETURNS list: 'begun', the id, the deadline (Unix ms), 1 when an attempt before died over it; or 'running', how
--         long it may still take, ms; or 'again', the answer; or 'reused' when the key came with another request
-- INVARIANT  one attempt has the request in hand until its deadline; all attempts make the same one thing

local idempotency, fingerprint, lifetime, id, allowed_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
-- include clock

local known = redis.call('HMGET', idempotency, 'fingerprint', 'answer', 'makes', 'deadline_ms')
local now_ms = read_clock_ms()
if known[1] and known[1] ~= fingerprint then
  return { 'reused' }
elseif known[2] then
  return { 'again', known[2] }
elseif known[4] and tonumber(known[4]) > now_ms then
  return { 'running', tonumber(known[4]) - now_ms }
end
local makes, deadline = known[3] or id, ms_text(now_ms + allowed_ms)
redis.call('HSET', idempotency, 'fingerprint', fingerprint, 'makes', makes, 'deadline_ms', deadline)
redis.call('EXPIRE', idempotency, lifetime)
return { 'begun', makes, deadline, known[3] and 1 or 0 }
