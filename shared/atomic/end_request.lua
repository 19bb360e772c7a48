#!lua
-- end_request: keep the answer to a request, or leave its Idempotency-Key free again.
--
-- KEYS    1 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 deadline of the attempt, Unix ms
--         2 answer; '' leaves the key free
-- RETURNS 1; 0 when a later attempt has the request in hand
-- INVARIANT  a key has one answer, that of the attempt which had it in hand last

local idempotency, deadline, answer = KEYS[1], ARGV[1], ARGV[2]

if redis.call('HGET', idempotency, 'deadline_ms') ~= deadline then
  return 0
end
if answer == '' then
  redis.call('DEL', idempotency)
else
  redis.call('HSET', idempotency, 'answer', answer)
  redis.call('HDEL', idempotency, 'deadline_ms')
end
return 1
