#!lua
-- confirm: give the held numbers of an order that is complete to its organization.
--
-- KEYS    1 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         2 {npa}:timers, sorted set, number -> when its hold or quarantine ends, ms
--         3 {npa}:events, stream
-- ARGV    1 order
--         2... numbers, E.164
-- RETURNS how many were given now
-- INVARIANT  only what this order holds becomes assigned, and is ours to keep from then on

local unavailable, timers, events, order = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
-- include clock
-- include offer
-- include record
-- include event

local now_ms, confirmed = read_clock_ms(), 0
for i = 2, #ARGV do
  local number = ARGV[i]
  local record = read_record(redis.call('HGET', unavailable, number))
  if record and record.state == 'held' and record.order == order then
    record.state, record.attributes = 'assigned', keep(record.attributes)
    redis.call('HSET', unavailable, number, text_of(record))
    redis.call('ZREM', timers, number)
    tell(events, number, 'held', 'assigned', record, now_ms, 'order')
    confirmed = confirmed + 1
  end
end
return confirmed
