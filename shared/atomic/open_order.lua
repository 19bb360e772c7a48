#!lua
-- open_order: write down an order before anything is done for it.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:orders, sorted set, order id -> place in the sequence
--         3 {org:X}:due, sorted set, order id or number -> when to look again, ms
--         4 {org:X}:sequence, string, counter
--         5 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
-- ARGV    1 order id
--         2 how long the first attempt may take, ms
--         3 fingerprint of the request, '' when it has no Idempotency-Key
--         4 lifetime of an Idempotency-Key, seconds
--         5 order that failed without an answer, whose place under the key this one takes; '' for none
--         6... field, value, field, value of the record
-- RETURNS list: 'opened', the time, the deadline (Unix ms); or 'known', the order that the key or the id stands
--         for, and its answer if there is one; or 'reused' when the key came with another request
-- INVARIANT  an Idempotency-Key stands for one order, until that has failed without an answer; who opens an
--         order has it in hand until the deadline

local order, orders, due, sequence, idempotency = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, hold_ms, fingerprint, lifetime, instead_of = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
-- include clock

if fingerprint ~= '' then
  local known = redis.call('HMGET', idempotency, 'fingerprint', 'order', 'answer')
  if known[1] and known[1] ~= fingerprint then
    return { 'reused' }
  elseif known[1] and (known[3] or known[2] ~= instead_of) then
    return { 'known', known[2], known[3] }
  end
end
if redis.call('EXISTS', order) == 1 then
  return { 'known', id, false }
end
if fingerprint ~= '' then
  redis.call('HSET', idempotency, 'fingerprint', fingerprint, 'order', id)
  redis.call('EXPIRE', idempotency, lifetime)
end
local now_ms = read_clock_ms()
local deadline_ms = now_ms + hold_ms
redis.call(
  'HSET', order, 'status', 'pending', 'attempt', 1, 'created_ms', ms_text(now_ms), 'updated_ms', ms_text(now_ms),
  'deadline_ms', ms_text(deadline_ms), unpack(ARGV, 6, #ARGV)
)
redis.call('ZADD', orders, redis.call('INCR', sequence), id)
redis.call('ZADD', due, deadline_ms, id)
return { 'opened', ms_text(now_ms), ms_text(deadline_ms) }
