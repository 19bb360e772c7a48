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
--         4 local numbers, packed unsigned 32-bit little-endian, at most 100
--         5 carrier
--         6 ",ordinal,ordinal,": the carriers in the order in which their offers count
-- RETURNS 1, and how many of the numbers stay whatever carriers offer; 0 when the run was overtaken and nothing
--         was written
-- INVARIANT  a number leaves the available set only when no carrier offers it any more and it is not ours to
--         keep; one that is not available stays what it is

local available, also, fence, unavailable, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local generation, carrier, prefix, order = tonumber(ARGV[1]), tonumber(ARGV[2]), '+1' .. ARGV[3], ARGV[6]
-- include clock
-- include offer
-- include record
-- include feed_event
-- include locals
-- include precedence

if tonumber(redis.call('HGET', fence, carrier) or 0) > generation then
  return { 0 }
end

local numbers = unpack_values(ARGV[4])
for i = 1, #numbers do
  numbers[i] = prefix .. numbers[i]
end
local scores = redis.call('ZMSCORE', available, unpack(numbers))
local records = {}
if redis.call('EXISTS', unavailable) == 1 then
  records = redis.call('HMGET', unavailable, unpack(numbers))
end
local has_others = redis.call('EXISTS', also) == 1

-- What a number's attributes become without this carrier's offer: the next one's, or nobody's.
local function without_offer(number, attributes)
  local others = has_others and other_offers(also, number, carrier) or {}
  if carrier_of(attributes) == carrier then
    local follower = take_first(others, order)
    attributes = follower and (is_kept(attributes) and keep(follower) or follower) or without_carrier(attributes)
  end
  if has_others then
    keep_others(also, number, others)
  end
  return attributes
end

local changes, gone, protected = {}, {}, 0
for i = 1, #numbers do
  local number, record = numbers[i], read_record(records[i])
  if scores[i] then
    local attributes = without_offer(number, tonumber(scores[i]) % ATTRIBUTES)
    if carrier_of(attributes) > 0 or is_kept(attributes) then
      changes[#changes + 1] = score_of(number, attributes)
      changes[#changes + 1] = number
      protected = protected + (carrier_of(attributes) == 0 and 1 or 0)
    else
      gone[#gone + 1] = number
    end
  elseif record then
    record.attributes = without_offer(number, record.attributes)
    redis.call('HSET', unavailable, number, text_of(record))
    protected = protected + 1
  end
end
if #changes > 0 then
  redis.call('ZADD', available, unpack(changes))
end
if #gone > 0 then
  redis.call('ZREM', available, unpack(gone))
  tell_count(events, 'available', 'unknown', ARGV[5], #gone, read_clock_ms(), pack_numbers(gone, 1))
end
return { 1, protected }
