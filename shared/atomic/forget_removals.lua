#!lua
-- forget_removals: what syncs wanted to remove is done, or is not wanted any more.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
--         2 {feed:carrier}:waiting, set of sync ids
--         3... {feed:carrier}:removals:SYNC, hashes, area code:0 -> roaring bitmap
-- ARGV    1 generation of the run
--         2... their sync ids
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  as in let_removals_wait

local feed, waiting, generation = KEYS[1], KEYS[2], ARGV[1]

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
for i = 3, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
redis.call('SREM', waiting, unpack(ARGV, 2))
return 1
