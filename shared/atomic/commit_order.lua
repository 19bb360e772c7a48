#!lua
-- commit_order: complete an order that holds all its numbers: they are its organization's from here on.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:due, sorted set, order id or number -> when to look again, ms
--         3 {org:X}:waiting, sorted set, order id -> waits since, Unix ms
--         4 {org:X}:numbers, sorted set, number -> place in the sequence
--         5 {org:X}:owned, hash, number -> resource id
--         6 {org:X}:sequence, string, counter
--         7 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
--         8... {org:X}:number:RID, hashes, the resources to be made
-- ARGV    1 order id
--         2 attempt, all of whose holds have succeeded
--         3 how long the order is kept, ms
--         4 the answer to be kept for the Idempotency-Key, '' for none
--         5 the time to be shown, Unix ms
--         6 inbound_url, '' for none
--         7 status_url, '' for none
--         8 label, '' for none
--         9 campaign_id, '' for none
--         10... number, resource id, features for each resource
-- RETURNS the status that the order has now: 'complete' when this attempt completed it
-- INVARIANT  an order becomes complete once, by its latest attempt, and with all its numbers

local order, due, waiting, numbers, owned, sequence, idempotency =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local id, attempt, keep_ms, answer, at_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local inbound_url, status_url, label, campaign_id = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
-- include clock

local status, current = unpack(redis.call('HMGET', order, 'status', 'attempt'))
if current ~= attempt then
  return status and 'overtaken' or 'forgotten'
elseif status ~= 'pending' then
  return status
end

local routing = {}
for field, value in pairs({
  inbound_url = inbound_url, status_url = status_url, label = label, campaign_id = campaign_id,
}) do
  if value ~= '' then
    routing[#routing + 1] = field
    routing[#routing + 1] = value
  end
end
local count = #KEYS - 7
local place = redis.call('INCRBY', sequence, count) - count
local places, ids = {}, {}
for i = 1, count do
  local number, resource_id, features = unpack(ARGV, 7 + i * 3, 9 + i * 3)
  redis.call(
    'HSET', KEYS[7 + i], 'number', number, 'order_id', id, 'features', features, 'created_ms', at_ms,
    'updated_ms', at_ms, unpack(routing)
  )
  places[2 * i - 1], places[2 * i] = place + i, number
  ids[2 * i - 1], ids[2 * i] = number, resource_id
end
redis.call('ZADD', numbers, unpack(places))
redis.call('HSET', owned, unpack(ids))
local now_ms = read_clock_ms()
redis.call('HSET', order, 'status', 'complete', 'ended_ms', ms_text(now_ms), 'updated_ms', ms_text(now_ms))
redis.call('ZADD', due, now_ms + keep_ms, id)
redis.call('ZREM', waiting, id)
if answer ~= '' and redis.call('HGET', idempotency, 'order') == id then
  redis.call('HSET', idempotency, 'answer', answer)
end
return 'complete'
