#!lua
-- let_wait: leave a bulk order that cannot be filled now until there is stock or its time is over.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:due, sorted set, order id or number -> when to look again, ms
--         3 {org:X}:waiting, sorted set, order id -> waits since, Unix ms
--         4 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 order id
--         2 attempt
--         3 the answer to be kept for the Idempotency-Key, '' for none
-- RETURNS 1; 0 when the attempt is not the order's any more
-- INVARIANT  a waiting order is in nobody's hand and picks nothing

local order, due, waiting, idempotency = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, attempt, answer = ARGV[1], ARGV[2], ARGV[3]

local status, current, created_ms, wait_ms =
  unpack(redis.call('HMGET', order, 'status', 'attempt', 'created_ms', 'wait_ms'))
if status ~= 'pending' or current ~= attempt then
  return 0
end
redis.call('HSET', order, 'numbers', '', 'deadline_ms', 0)
redis.call('ZADD', due, created_ms + wait_ms, id)
redis.call('ZADD', waiting, created_ms, id)
if answer ~= '' and redis.call('HGET', idempotency, 'order') == id then
  redis.call('HSET', idempotency, 'answer', answer)
end
return 1
