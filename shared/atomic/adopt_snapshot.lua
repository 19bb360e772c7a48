#!lua
-- adopt_snapshot: note that a run's snapshot is in stock, and forget those that it replaced.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
--         2... {feed:carrier}:snapshot:N, hashes, the snapshots that were applied or intended before
-- ARGV    1 generation of the run
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  `applied` names the snapshot that is in stock, whole, whenever nothing is intended

local feed, generation = KEYS[1], ARGV[1]

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
redis.call('HSET', feed, 'applied', generation)
redis.call('HDEL', feed, 'intended')
for i = 2, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
return 1
