#!lua
-- hold: hold numbers of one area code for an order, all of them or none.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         3 {npa}:timers, sorted set, number -> when its hold or quarantine ends, ms
--         4 {npa}:events, stream
-- ARGV    1 order
--         2 attempt at the order
--         3 organization
--         4 deadline of the attempt, Unix ms
--         5... numbers, E.164, at most 100
-- RETURNS list: 'held' and each number's attributes; or 'refused' and the numbers that are not available; or
--         'late' after the deadline, or when a later attempt has one of the numbers: nothing was held
-- INVARIANT  a number is held by one attempt at one order; a later attempt takes over what an earlier one of
--         the same order holds, never the other way round

local available, unavailable, timers, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local order, attempt, organization, deadline_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
-- include clock
-- include offer
-- include record
-- include event

local now_ms = read_clock_ms()
if now_ms >= deadline_ms then
  return { 'late' }
end

local numbers = { unpack(ARGV, 5, #ARGV) }
local scores = redis.call('ZMSCORE', available, unpack(numbers))
local records = redis.call('HMGET', unavailable, unpack(numbers))
local attributes, refused = {}, {}
for i = 1, #numbers do
  local record = read_record(records[i])
  if scores[i] then
    attributes[i] = tonumber(scores[i]) % ATTRIBUTES
  elseif record and record.state == 'held' and record.order == order then
    if record.attempt > attempt then
      return { 'late' }
    end
    attributes[i] = record.attributes
  else
    refused[#refused + 1] = numbers[i]
  end
end
if #refused > 0 then
  return { 'refused', unpack(refused) }
end

for i = 1, #numbers do
  local record = {
    state = 'held', attributes = attributes[i], attempt = attempt, order = order, organization = organization,
  }
  redis.call('HSET', unavailable, numbers[i], text_of(record))
  redis.call('ZADD', timers, deadline_ms, numbers[i])
  if scores[i] then
    redis.call('ZREM', available, numbers[i])
    tell(events, numbers[i], 'available', 'held', record, now_ms, 'order')
  end
end
return { 'held', unpack(attributes) }
