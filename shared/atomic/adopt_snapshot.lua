#!lua
-- adopt_snapshot: note that a run's snapshot is in stock, and forget those that nobody needs any more.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
--         2... {feed:carrier}:snapshot:N, hashes, those to forget
-- ARGV    1 generation of the run
--         2 id of the sync that has made the stock what it is
--         3 generation from before that sync, 0 for none; '' when there is no way back
--         4 how many of the numbers that the sync changed are protected
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  `applied` names the snapshot that is in stock, whole, whenever nothing is intended

local feed, generation, sync_id, previous, protected = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
redis.call(
  'HSET', feed, 'applied', generation, 'applied_by', sync_id, 'previous', previous, 'protected', protected
)
redis.call('HDEL', feed, 'intended')
for i = 2, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
return 1
