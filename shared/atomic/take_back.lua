#!lua
-- take_back: take numbers back that an organization got by an order and has lost.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         3 {npa}:timers, sorted set, number -> when its hold or quarantine ends, ms
--         4 {npa}:returned, sorted set, number -> when a feed may list it anew, ms
--         5 {npa}:events, stream
-- ARGV    1 order
--         2 target: quarantined (available at once when that takes no time) or returned
--         3 quarantine, ms
--         4 cause
--         5... numbers, E.164
-- RETURNS how many were taken back
-- INVARIANT  only what is this order's, assigned or not yet confirmed, is touched, never a next owner's; a
--         number that goes back to its carrier is not ours to keep, and who offers it stays what feeds say

local available, unavailable, timers, returned, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local order, target, quarantine_ms, cause = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
-- include clock
-- include offer
-- include record
-- include event

local now_ms, taken = read_clock_ms(), 0
local due_ms = now_ms + quarantine_ms
if target == 'quarantined' and quarantine_ms == 0 then
  target = 'available'
end

local function move(number, record)
  redis.call('ZREM', timers, number)
  if target == 'available' then
    redis.call('HDEL', unavailable, number)
    redis.call('ZADD', available, score_of(number, keep(record.attributes)), number)
    return
  end
  record.state = target
  if target == 'quarantined' then
    record.attributes = keep(record.attributes)
    redis.call('ZADD', timers, due_ms, number)
  else
    record.attributes = lose(record.attributes)
    redis.call('ZADD', returned, due_ms, number)
  end
  redis.call('HSET', unavailable, number, text_of(record))
end

for i = 5, #ARGV do
  local number = ARGV[i]
  local record = read_record(redis.call('HGET', unavailable, number))
  if record and record.order == order and (record.state == 'assigned' or record.state == 'held') then
    local from = record.state
    move(number, record)
    tell(events, number, from, target, record, now_ms, cause)
    taken = taken + 1
  end
end
return taken
