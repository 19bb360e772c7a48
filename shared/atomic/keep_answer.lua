#!lua
-- keep_answer: keep the answer to a request whose order has gone on without it.
--
-- KEYS    1 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 order id
--         2 answer
-- RETURNS the answer that is kept: an earlier one if there is one
-- INVARIANT  a key has one answer, and only while it stands for this order

local idempotency, id, answer = KEYS[1], ARGV[1], ARGV[2]

local order, kept = unpack(redis.call('HMGET', idempotency, 'order', 'answer'))
if order == id and not kept then
  redis.call('HSET', idempotency, 'answer', answer)
end
return order == id and kept or answer
