#!lua
-- give_back: give back what an order holds that came to nothing.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         3 {npa}:timers, sorted set, number -> when its hold or quarantine ends, ms
--         4 {npa}:events, stream
-- ARGV    1 order
--         2 the last attempt that is known to have come to nothing
--         3 cause
--         4... numbers, E.164
-- RETURNS how many were given back
-- INVARIANT  only holds of this order up to this attempt are touched; a number that no carrier offers any
--         more, and that is not ours to keep, is forgotten

local available, unavailable, timers, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local order, attempt, cause = ARGV[1], tonumber(ARGV[2]), ARGV[3]
-- include clock
-- include offer
-- include record
-- include event

local now_ms, given = read_clock_ms(), 0
for i = 4, #ARGV do
  local number = ARGV[i]
  local record = read_record(redis.call('HGET', unavailable, number))
  if record and record.state == 'held' and record.order == order and record.attempt <= attempt then
    local stays = carrier_of(record.attributes) > 0 or is_kept(record.attributes)
    redis.call('HDEL', unavailable, number)
    redis.call('ZREM', timers, number)
    if stays then
      redis.call('ZADD', available, score_of(number, record.attributes), number)
    end
    tell(events, number, 'held', stays and 'available' or 'unknown', record, now_ms, cause)
    given = given + 1
  end
end
return given
