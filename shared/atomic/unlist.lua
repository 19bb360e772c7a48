#!lua
-- unlist: take numbers from the available ones that somebody has, or that nobody may offer.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         3 {npa}:events, stream
-- ARGV    1... numbers, E.164
-- RETURNS how many were taken
-- INVARIANT  a number that is rightly available stays; who has a number is what its record says, and it stays

local available, unavailable, events = KEYS[1], KEYS[2], KEYS[3]
-- include clock
-- include offer
-- include record
-- include event

local NOBODY = { order = '', organization = '' }
local now_ms, taken = read_clock_ms(), 0
for i = 1, #ARGV do
  local number = ARGV[i]
  local score = redis.call('ZSCORE', available, number)
  local text = redis.call('HGET', unavailable, number)
  local record = read_record(text)
  local is_had = record and record.state
  local attributes = tonumber(score or 0) % ATTRIBUTES
  if score and (is_had or not text and carrier_of(attributes) == 0 and not is_kept(attributes)) then
    redis.call('ZREM', available, number)
    local state = is_had and record.state or 'unknown'
    tell(events, number, 'available', state, is_had and record or NOBODY, now_ms, 'repair')
    taken = taken + 1
  end
end
return taken
