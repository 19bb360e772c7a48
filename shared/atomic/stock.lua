#!lua
-- stock: offer numbers of one area code in a carrier's name, with their features.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:also, hash, number -> attributes of further offers, comma-joined
--         3 {npa}:fence, hash, carrier ordinal -> lowest generation that may write
--         4 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         5 {npa}:returned, sorted set, number -> when a feed may list it anew, ms
--         6 {npa}:events, stream
-- ARGV    1 generation of the run
--         2 attributes of the offer: carrier ordinal * 64 + features
--         3 area code
--         4 local numbers, packed unsigned 32-bit little-endian, at most 200
--         5 carrier
-- RETURNS 1; 0 when the run was overtaken and nothing was written
-- INVARIANT  a number has one entry, in available or in unavailable, and stays where it is, but for one that
--         was returned to its carrier and may be listed anew; a carrier has at most one offer of it, there or
--         in also

local available, also, fence, unavailable, returned, events =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local generation, offered, prefix, packed = tonumber(ARGV[1]), tonumber(ARGV[2]), '+1' .. ARGV[3], ARGV[4]
-- include clock
-- include offer
-- include record
-- include event
-- include feed_event
-- include locals
local carrier = carrier_of(offered)

if tonumber(redis.call('HGET', fence, carrier) or 0) > generation then
  return 0
end

local numbers = unpack_numbers(prefix, packed)
local scores = redis.call('ZMSCORE', available, unpack(numbers))
local records = {}
if redis.call('EXISTS', unavailable) == 1 then
  records = redis.call('HMGET', unavailable, unpack(numbers))
end
local now_ms = read_clock_ms()

-- Another carrier's offer counts already: this one waits behind it.
local function wait_behind(number)
  local kept = { offered }
  for offer in string.gmatch(redis.call('HGET', also, number) or '', '%d+') do
    if carrier_of(offer) ~= carrier then
      kept[#kept + 1] = offer
    end
  end
  table.sort(kept, function(a, b) return tonumber(a) < tonumber(b) end)
  redis.call('HSET', also, number, table.concat(kept, ','))
end

-- What a number's attributes become; nil when they stay.
local function offer_beside(number, attributes)
  local shown = carrier_of(attributes)
  if shown ~= carrier and shown ~= 0 then
    wait_behind(number)
    return nil
  end
  return is_kept(attributes) and keep(offered) or offered
end

local changes, added = {}, 0

local function show(number, attributes)
  changes[#changes + 1] = score_of(number, attributes)
  changes[#changes + 1] = number
end

local function offer_unavailable(number, record)
  record.attributes = offer_beside(number, record.attributes) or record.attributes
  if record.state ~= 'returned' or tonumber(redis.call('ZSCORE', returned, number) or 0) > now_ms then
    redis.call('HSET', unavailable, number, text_of(record))
  else
    redis.call('HDEL', unavailable, number)
    redis.call('ZREM', returned, number)
    show(number, record.attributes)
    tell(events, number, 'returned', 'available', record, now_ms, 'feed')
  end
end

for i = 1, #numbers do
  local number = numbers[i]
  if scores[i] then
    local attributes = offer_beside(number, tonumber(scores[i]) % ATTRIBUTES)
    if attributes then
      show(number, attributes)
    end
  elseif records[i] then
    offer_unavailable(number, read_record(records[i]))
  else
    show(number, offered)
    added = added + 1
  end
end
if #changes > 0 then
  redis.call('ZADD', available, unpack(changes))
end
if added > 0 then
  tell_count(events, 'unknown', 'available', ARGV[5], added, now_ms)
end
return 1
