#!lua
-- withdraw: take back a carrier's offers of numbers of one area code.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:also, hash, number -> attributes of further offers, comma-joined
--         3 {npa}:fence, hash, carrier ordinal -> lowest generation that may write
--         4 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         5 {npa}:events, stream
-- ARGV    1 generation of the run
--         2 carrier ordinal
--         3 area code
--         4 local numbers, packed unsigned 32-bit little-endian, at most 200
--         5 carrier
-- RETURNS 1; 0 when the run was overtaken and nothing was written
-- INVARIANT  a number leaves the available set only when no carrier offers it any more and it is not ours to
--         keep; one that is not available stays what it is

local available, also, fence, unavailable, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local generation, carrier, prefix, packed = tonumber(ARGV[1]), tonumber(ARGV[2]), '+1' .. ARGV[3], ARGV[4]
-- include clock
-- include offer
-- include record
-- include feed_event
-- include locals

if tonumber(redis.call('HGET', fence, carrier) or 0) > generation then
  return 0
end

local numbers = unpack_numbers(prefix, packed)
local scores = redis.call('ZMSCORE', available, unpack(numbers))
local records = {}
if redis.call('EXISTS', unavailable) == 1 then
  records = redis.call('HMGET', unavailable, unpack(numbers))
end

-- What a number's attributes become without this carrier's offer: the next one's, or nobody's.
local function without_offer(number, attributes)
  local others = {}
  for offer in string.gmatch(redis.call('HGET', also, number) or '', '%d+') do
    if carrier_of(offer) ~= carrier then
      others[#others + 1] = tonumber(offer)
    end
  end
  if carrier_of(attributes) == carrier then
    local follower = table.remove(others, 1)
    attributes = follower and (is_kept(attributes) and keep(follower) or follower) or without_carrier(attributes)
  end
  if #others == 0 then
    redis.call('HDEL', also, number)
  else
    redis.call('HSET', also, number, table.concat(others, ','))
  end
  return attributes
end

local changes, gone = {}, {}
for i = 1, #numbers do
  local number, record = numbers[i], read_record(records[i])
  if scores[i] then
    local attributes = without_offer(number, tonumber(scores[i]) % ATTRIBUTES)
    if carrier_of(attributes) > 0 or is_kept(attributes) then
      changes[#changes + 1] = score_of(number, attributes)
      changes[#changes + 1] = number
    else
      gone[#gone + 1] = number
    end
  elseif record then
    record.attributes = without_offer(number, record.attributes)
    redis.call('HSET', unavailable, number, text_of(record))
  end
end
if #changes > 0 then
  redis.call('ZADD', available, unpack(changes))
end
if #gone > 0 then
  redis.call('ZREM', available, unpack(gone))
  tell_count(events, 'available', 'unknown', ARGV[5], #gone, read_clock_ms())
end
return 1
