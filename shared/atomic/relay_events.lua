#!lua
-- relay_events: copy entries of one area code's stream to the stream that other services read.
--
-- KEYS    1 events:numbers, stream
--         2 {events:numbers}:relayed, hash, area code -> id of its last relayed entry
-- ARGV    1 area code
--         2 id after which the entries were read, '' from the first
--         3... entries, oldest first: id, how many items follow, field, value, field, value, ...
-- RETURNS how many of them were relayed: those before one that has too many items for a script; -1 when that
--         is the first; 0 when ARGV[2] is not the last relayed entry any more
-- INVARIANT  each entry is relayed once, after all older ones of its area code, whoever relays and however late

local stream, relayed, area_code, after = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

-- Lua takes up to 8,000 arguments. What fails halfway would have been written, and be written again.
local most_items = 7000

if (redis.call('HGET', relayed, area_code) or '') ~= after then
  return 0
end
local last, count, i = after, 0, 3
while i < #ARGV do
  local first_item, items = i + 2, tonumber(ARGV[i + 1])
  if items > most_items then
    break
  end
  last = ARGV[i]
  redis.call(
    'XADD', stream, '*', 'area_code', area_code, 'id', last, unpack(ARGV, first_item, first_item + items - 1)
  )
  count = count + 1
  i = first_item + items
end
if count == 0 then
  return -1
end
redis.call('HSET', relayed, area_code, last)
return count
