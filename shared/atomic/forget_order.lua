#!lua
-- forget_order: forget an order that ended long ago.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:orders, sorted set, order id -> place in the sequence
--         3 {org:X}:due, sorted set, order id or number -> when to look again, ms
-- ARGV    1 order id
--         2 how long an order is kept after its end, ms
-- RETURNS 1; 0 when it has not ended, or not long ago
-- INVARIANT  an order that is pending or cancelling is never forgotten

local order, orders, due, id, keep_ms = KEYS[1], KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[2])
-- include clock

local status, ended_ms = unpack(redis.call('HMGET', order, 'status', 'ended_ms'))
if status == 'pending' or status == 'cancelling' then
  return 0
end
local forget_ms = (ended_ms or 0) + keep_ms
if status and forget_ms > read_clock_ms() then
  redis.call('ZADD', due, forget_ms, id)
  return 0
end
redis.call('UNLINK', order)
redis.call('ZREM', orders, id)
redis.call('ZREM', due, id)
return 1
