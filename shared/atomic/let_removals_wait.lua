#!lua
-- let_removals_wait: note that what a sync wants to remove waits until somebody confirms it.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
--         2 {feed:carrier}:waiting, set of sync ids
-- ARGV    1 generation of the run
--         2 id of the sync, under which the numbers are kept
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  whatever is kept of removals belongs to a sync in the set

local feed, waiting, generation, sync_id = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
redis.call('SADD', waiting, sync_id)
return 1
