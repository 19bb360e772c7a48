#!lua
-- write_feed: write what a run has to keep of its feed, in the feed's state or beside it.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
--         2 {feed:carrier}:PLACE, hash, where it is written; may be the first
-- ARGV    1 generation of the run
--         2... field, value, field, value
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  a run that was overtaken leaves nothing behind, for nobody would ever forget it

local feed, target, generation = KEYS[1], KEYS[2], ARGV[1]

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
redis.call('HSET', target, unpack(ARGV, 2, #ARGV))
return 1
