#!lua
-- register_carrier: give a carrier the ordinal that stands for it in scores.
--
-- KEYS    1 feeds, hash, carrier -> ordinal
-- ARGV    1 carrier
--         2 highest ordinal that a score can hold
-- RETURNS the carrier's ordinal, 1 or more; 0 when there are as many carriers as ordinals
-- INVARIANT  a carrier keeps its ordinal for ever, and no two have the same

local feeds, carrier, highest = KEYS[1], ARGV[1], tonumber(ARGV[2])

local known = redis.call('HGET', feeds, carrier)
if known then
  return tonumber(known)
end
local ordinal = redis.call('HLEN', feeds) + 1
if ordinal > highest then
  return 0
end
redis.call('HSET', feeds, carrier, ordinal)
return ordinal
