#!lua
-- reassign: assign a number that nobody has to the organization that has its resource.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         3 {npa}:timers, sorted set, number -> when its hold or quarantine ends, ms
--         4 {npa}:events, stream
-- ARGV    1 number, E.164
--         2 order by which the organization has it
--         3 organization
--         4 features that the resource promises
-- RETURNS 1; 0 when somebody has it, or it went back to its carrier
-- INVARIANT  a number that is held, assigned or returned stays what it is

local available, unavailable, timers, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local number, order, organization, features = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
-- include clock
-- include offer
-- include record
-- include event

local score, text = redis.call('ZSCORE', available, number), redis.call('HGET', unavailable, number)
local before = read_record(text)
local from, attributes = 'unknown', features
if text and (score or before.state ~= 'quarantined') then
  return 0
elseif text then
  from, attributes = 'quarantined', before.attributes
elseif score then
  from, attributes = 'available', tonumber(score) % ATTRIBUTES
end
local record = {
  state = 'assigned', attributes = keep(attributes), attempt = 1, order = order, organization = organization,
}
redis.call('ZREM', available, number)
redis.call('ZREM', timers, number)
redis.call('HSET', unavailable, number, text_of(record))
tell(events, number, from, 'assigned', record, read_clock_ms(), 'repair')
return 1
