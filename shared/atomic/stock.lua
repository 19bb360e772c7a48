#!lua
-- stock: offer numbers of one area code in a carrier's name, each with its features.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:also, hash, number -> attributes of further offers, comma-joined
--         3 {npa}:fence, hash, carrier ordinal -> lowest generation that may write
--         4 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         5 {npa}:returned, sorted set, number -> when a feed may list it anew, ms
--         6 {npa}:events, stream
-- ARGV    1 generation of the run
--         2 carrier ordinal
--         3 area code
--         4 features * 2^24 + local numbers, packed unsigned 32-bit little-endian, at most 100
--         5 carrier
--         6 ",ordinal,ordinal,": the carriers in the order in which their offers count
-- RETURNS 1, and how many of the numbers no feed can make available; 0 when the run was overtaken and nothing
--         was written
-- INVARIANT  a number has one entry, in available or in unavailable, and stays where it is, but for one that
--         was returned to its carrier and may be listed anew; a carrier has at most one offer of it, there or
--         in also

local available, also, fence, unavailable, returned, events =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local generation, carrier, prefix, order = tonumber(ARGV[1]), tonumber(ARGV[2]), '+1' .. ARGV[3], ARGV[6]
-- include clock
-- include offer
-- include record
-- include event
-- include feed_event
-- include locals
-- include precedence

if tonumber(redis.call('HGET', fence, carrier) or 0) > generation then
  return { 0 }
end

local values, numbers = unpack_values(ARGV[4]), {}
for i = 1, #values do
  numbers[i] = prefix .. values[i] % FEATURE
end
local records = {}
if redis.call('EXISTS', unavailable) == 1 then
  records = redis.call('HMGET', unavailable, unpack(numbers))
end
local now_ms = read_clock_ms()

-- The attributes of this carrier's offer.
local function offer_of(value)
  return carrier * CARRIER + math.floor(value / FEATURE)
end

-- What a number's attributes become when this carrier offers it too. The order may be another than it was when
-- this carrier's offer began to count.
local function offer_beside(number, attributes, offered)
  local shown = carrier_of(attributes)
  local offers = other_offers(also, number, carrier, shown)
  offers[#offers + 1] = offered
  if shown ~= carrier and shown ~= 0 then
    offers[#offers + 1] = lose(attributes)
  end
  local first = take_first(offers, order)
  keep_others(also, number, offers)
  return is_kept(attributes) and keep(first) or first
end

local protected = 0

local function offer_unavailable(number, record, offered)
  record.attributes = offer_beside(number, record.attributes, offered)
  if record.state ~= 'returned' or tonumber(redis.call('ZSCORE', returned, number) or 0) > now_ms then
    redis.call('HSET', unavailable, number, text_of(record))
    protected = protected + 1
  else
    redis.call('HDEL', unavailable, number)
    redis.call('ZREM', returned, number)
    redis.call('ZADD', available, score_of(number, record.attributes), number)
    tell(events, number, 'returned', 'available', record, now_ms, 'feed')
  end
end

-- Score, number, score, number. Scores are plain Lua numbers here: formatting them costs a third of the call, and
-- Redis writes integers exactly.
local offers, count = {}, 0
for i = 1, #numbers do
  if records[i] then
    offer_unavailable(numbers[i], read_record(records[i]), offer_of(values[i]))
  else
    offers[count + 1] = values[i] % FEATURE * ATTRIBUTES + offer_of(values[i])
    offers[count + 2] = numbers[i]
    count = count + 2
  end
end
if count == 0 then
  return { 1, protected }
end

-- All offers are available then, those that were before too; packing takes 10 us, which most calls need not spend.
local function packed_offers()
  return count == 2 * #values and ARGV[4] or pack_numbers(offers, 2)
end

-- Most are new, and then it is one command.
local added = redis.call('ZADD', available, 'NX', unpack(offers))
if added > 0 then
  tell_count(events, 'unknown', 'available', ARGV[5], added, now_ms, packed_offers())
end
if added * 2 == count then
  return { 1, protected }
end

local known = {}
for i = 2, count, 2 do
  known[i / 2] = offers[i]
end
local scores, changes = redis.call('ZMSCORE', available, unpack(known)), {}
local has_others = redis.call('EXISTS', also) == 1
for i = 1, #known do
  local score = tonumber(scores[i])
  if has_others or score ~= offers[2 * i - 1] then
    local attributes = offer_beside(known[i], score % ATTRIBUTES, offers[2 * i - 1] % ATTRIBUTES)
    if attributes ~= score % ATTRIBUTES then
      changes[#changes + 1] = score_of(known[i], attributes)
      changes[#changes + 1] = known[i]
    end
  end
end
if #changes > 0 then
  redis.call('ZADD', available, unpack(changes))
end
return { 1, protected }
