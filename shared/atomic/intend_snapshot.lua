#!lua
-- intend_snapshot: note, before the first change to the stock, which snapshot a run is going to apply.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
-- ARGV    1 generation of the run, under which its snapshot is kept
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  what a carrier may have in stock is within `applied` and all of `intended`

local feed, generation = KEYS[1], ARGV[1]

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
local intended = redis.call('HGET', feed, 'intended')
redis.call('HSET', feed, 'intended', intended and intended .. ' ' .. generation or generation)
return 1
