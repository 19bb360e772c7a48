#!lua
-- leave_feed: take the work that is done from its queue and let the next run have the feed.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
--         2 {feed:carrier}:queue, list of task:sync id
-- ARGV    1 generation of the run
--         2 task:sync id
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  work leaves the queue only after its outcome was written

local feed, queue, generation, work = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
redis.call('LREM', queue, 1, work)
redis.call('HSET', feed, 'lease_until_ms', 0)
return 1
