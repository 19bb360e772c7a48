#!lua
-- withdraw: take back a carrier's offers of numbers of one area code.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:also, hash, number -> attributes of further offers, comma-joined
--         3 {npa}:fence, hash, carrier ordinal -> lowest generation that may write
-- ARGV    1 generation of the run
--         2 carrier ordinal
--         3 area code
--         4 local numbers, packed unsigned 32-bit little-endian, at most 200
-- RETURNS 1; 0 when the run was overtaken and nothing was written
-- INVARIANT  a number leaves the available set only when no carrier offers it any more

local available, also, fence = KEYS[1], KEYS[2], KEYS[3]
local generation, carrier, prefix, packed = tonumber(ARGV[1]), tonumber(ARGV[2]), '+1' .. ARGV[3], ARGV[4]
local ATTRIBUTES, CARRIER = 65536, 64

if tonumber(redis.call('HGET', fence, carrier) or 0) > generation then
  return 0
end

local locals = { struct.unpack('<' .. string.rep('I4', #packed / 4), packed) }
-- struct.unpack adds the position after the last value.
locals[#locals] = nil
local members = {}
for i = 1, #locals do
  members[i] = prefix .. locals[i]
end
local scores = redis.call('ZMSCORE', available, unpack(members))

local function keep_offers(member, offers)
  if #offers == 0 then
    redis.call('HDEL', also, member)
  else
    redis.call('HSET', also, member, table.concat(offers, ','))
  end
end

local gone = {}
for i = 1, #members do
  if scores[i] then
    local member, shown = members[i], tonumber(scores[i]) % ATTRIBUTES
    local others = {}
    for offer in string.gmatch(redis.call('HGET', also, member) or '', '%d+') do
      if math.floor(offer / CARRIER) ~= carrier then
        others[#others + 1] = offer
      end
    end
    if math.floor(shown / CARRIER) ~= carrier then
      keep_offers(member, others)
    elseif #others > 0 then
      redis.call('ZADD', available, string.format('%d', locals[i] * ATTRIBUTES + table.remove(others, 1)), member)
      keep_offers(member, others)
    else
      gone[#gone + 1] = member
    end
  end
end
if #gone > 0 then
  redis.call('ZREM', available, unpack(gone))
end
return 1
