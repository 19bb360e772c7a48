#!lua
-- stock: offer numbers of one area code in a carrier's name, with their features.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
--         2 {npa}:also, hash, number -> attributes of further offers, comma-joined
--         3 {npa}:fence, hash, carrier ordinal -> lowest generation that may write
-- ARGV    1 generation of the run
--         2 attributes of the offer: carrier ordinal * 64 + features
--         3 area code
--         4 local numbers, packed unsigned 32-bit little-endian, at most 200
-- RETURNS 1; 0 when the run was overtaken and nothing was written
-- INVARIANT  a number has one entry in available; a carrier has at most one offer of it, there or in also

local available, also, fence = KEYS[1], KEYS[2], KEYS[3]
local generation, attributes, prefix, packed = tonumber(ARGV[1]), tonumber(ARGV[2]), '+1' .. ARGV[3], ARGV[4]
local ATTRIBUTES, CARRIER = 65536, 64
local carrier = math.floor(attributes / CARRIER)

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

-- Another carrier shows the number already: this offer waits behind it.
local function wait_behind(member)
  local kept = { attributes }
  for offer in string.gmatch(redis.call('HGET', also, member) or '', '%d+') do
    if math.floor(offer / CARRIER) ~= carrier then
      kept[#kept + 1] = offer
    end
  end
  table.sort(kept, function(a, b) return tonumber(a) < tonumber(b) end)
  redis.call('HSET', also, member, table.concat(kept, ','))
end

local changes = {}
for i = 1, #members do
  local shown = scores[i] and tonumber(scores[i]) % ATTRIBUTES
  if not shown or math.floor(shown / CARRIER) == carrier then
    changes[#changes + 1] = string.format('%d', locals[i] * ATTRIBUTES + attributes)
    changes[#changes + 1] = members[i]
  else
    wait_behind(members[i])
  end
end
if #changes > 0 then
  redis.call('ZADD', available, unpack(changes))
end
return 1
