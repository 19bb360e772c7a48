#!lua
-- fail_order: end an order that cannot be filled, before any of its holds is given back.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:due, sorted set, order id or number -> when to look again, ms
--         3 {org:X}:waiting, sorted set, order id -> waits since, Unix ms
--         4 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 order id
--         2 attempt
--         3 how long the order is kept, ms
--         4 reason
--         5 the answer to be kept for the Idempotency-Key, '' for none
-- RETURNS the status that the order has now: 'failed' when this attempt failed it
-- INVARIANT  an order that has failed will never be complete: its holds can be given back

local order, due, waiting, idempotency = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, attempt, keep_ms, reason, answer = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
-- include clock

local status, current = unpack(redis.call('HMGET', order, 'status', 'attempt'))
if current ~= attempt then
  return status and 'overtaken' or 'forgotten'
elseif status ~= 'pending' then
  return status
end
local now_ms = read_clock_ms()
redis.call(
  'HSET', order, 'status', 'failed', 'reason', reason, 'ended_ms', ms_text(now_ms), 'updated_ms', ms_text(now_ms)
)
redis.call('ZADD', due, now_ms + keep_ms, id)
redis.call('ZREM', waiting, id)
if answer ~= '' and redis.call('HGET', idempotency, 'order') == id then
  redis.call('HSET', idempotency, 'answer', answer)
end
return 'failed'
