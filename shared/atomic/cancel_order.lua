#!lua
-- cancel_order: take the numbers of a complete order from its organization, or end a bulk order that waits.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:numbers, sorted set, number -> place in the sequence
--         3 {org:X}:owned, hash, number -> resource id
--         4 {org:X}:released, sorted set, resource id -> when, Unix ms
--         5 {org:X}:departures, hash, number -> order target quarantine_ms cause
--         6 {org:X}:due, sorted set, order id or number -> when to look again, ms
--         7 {org:X}:waiting, sorted set, order id -> waits since, Unix ms
--         8 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
--         9... {org:X}:number:RID, hashes, the resources that its numbers have now
-- ARGV    1 order id
--         2 status in which the resources were looked up
--         3 fingerprint of the request, '' when it has no Idempotency-Key
--         4 lifetime of an Idempotency-Key, seconds
--         5 how long after its completion an order can be cancelled, ms
--         6 quarantine of its numbers, ms
--         7 how long the order is kept, ms
--         8 how long an id stays known as released, ms
--         9... the ids of the resources
-- RETURNS list: 'cancelling', 'cancelled' or 'not_cancellable', then field, value, ... of the record; or 'changed'
--         when the status is not the one in which the resources were looked up; or 'reused'; a repeated
--         request gets 'again' and the first list
-- INVARIANT  exactly the numbers that the organization still has by this order depart, and none of them twice

local order, numbers, owned, released, departures, due, waiting, idempotency =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id, seen, fingerprint, lifetime = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local window_ms, quarantine_ms, keep_ms, known_ms =
  tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
-- include clock
-- include request
-- include departure

local repeated = reply_to_repeated(idempotency, fingerprint)
if repeated then
  return repeated
end
local status, ended_ms, quantity = unpack(redis.call('HMGET', order, 'status', 'ended_ms', 'quantity'))
if status ~= seen then
  return { 'changed' }
end
local now_ms = read_clock_ms()

local function become(new_status)
  status = new_status
  redis.call('HSET', order, 'status', status, 'updated_ms', ms_text(now_ms))
end

if status == 'complete' and now_ms - ended_ms <= window_ms then
  local keys = { numbers = numbers, owned = owned, released = released, departures = departures, due = due }
  local resources, ids = {}, {}
  for i = 9, #KEYS do
    if redis.call('HGET', KEYS[i], 'order_id') == id then
      resources[#resources + 1] = KEYS[i]
      ids[#ids + 1] = ARGV[i]
    end
  end
  depart(keys, resources, ids, 'quarantined ' .. quarantine_ms .. ' cancel', now_ms, now_ms)
  become('cancelling')
  redis.call('ZADD', due, now_ms, id)
  redis.call('ZREMRANGEBYSCORE', released, '-inf', now_ms - known_ms)
elseif status == 'pending' and quantity then
  become('cancelled')
  -- What an attempt has picked is not what the order got: its holds are given back.
  redis.call('HSET', order, 'ended_ms', ms_text(now_ms), 'numbers', '')
  redis.call('ZADD', due, now_ms + keep_ms, id)
  redis.call('ZREM', waiting, id)
elseif status ~= 'cancelling' and status ~= 'cancelled' then
  return { 'not_cancellable' }
end
local reply = { status, unpack(redis.call('HGETALL', order)) }
return keep_reply(idempotency, fingerprint, lifetime, reply)
