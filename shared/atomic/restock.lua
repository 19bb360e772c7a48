#!lua
-- restock: make numbers available whose quarantine is over.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         3 {npa}:timers, sorted set, number -> when its hold or quarantine ends, ms
--         4 {npa}:events, stream
-- ARGV    1... numbers, E.164
-- RETURNS how many became available
-- INVARIANT  a number leaves its quarantine when that is over, not before

local available, unavailable, timers, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
-- include clock
-- include offer
-- include record
-- include event

local now_ms, restocked = read_clock_ms(), 0
for i = 1, #ARGV do
  local number = ARGV[i]
  local record = read_record(redis.call('HGET', unavailable, number))
  local due_ms = tonumber(redis.call('ZSCORE', timers, number) or math.huge)
  if record and record.state == 'quarantined' and due_ms <= now_ms then
    redis.call('HDEL', unavailable, number)
    redis.call('ZREM', timers, number)
    redis.call('ZADD', available, score_of(number, record.attributes), number)
    tell(events, number, 'quarantined', 'available', record, now_ms, 'quarantine_over')
    restocked = restocked + 1
  end
end
return restocked
