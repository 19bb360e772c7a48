#!lua
-- relay_events: copy entries of one area code's stream to the stream that other services read.
--
-- KEYS    1 events:numbers, stream
--         2 {events:numbers}:relayed, hash, area code -> id of its last relayed entry
-- ARGV    1 area code
--         2 id after which the entries were read, '' from the first
--         3... entries, oldest first: id, how many items follow, field, value, field, value, ...
-- RETURNS 1; 0 when that is not the last relayed entry any more and nothing was written
-- INVARIANT  each entry is relayed once, after all older ones of its area code, whoever relays and however late

local stream, relayed, area_code, after = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

if (redis.call('HGET', relayed, area_code) or '') ~= after then
  return 0
end
local last, i = after, 3
while i < #ARGV do
  local first_item, items = i + 2, tonumber(ARGV[i + 1])
  last = ARGV[i]
  redis.call(
    'XADD', stream, '*', 'area_code', area_code, 'id', last, unpack(ARGV, first_item, first_item + items - 1)
  )
  i = first_item + items
end
redis.call('HSET', relayed, area_code, last)
return 1
