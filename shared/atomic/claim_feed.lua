#!lua
-- claim_feed: take a carrier's feed in hand, to do the work at the head of its queue.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
--         2 {feed:carrier}:queue, list of task:sync id
-- ARGV    1 lease, milliseconds
-- RETURNS list: generation of this run, task:sync id; an empty list when nothing waits or another run has the feed
-- INVARIANT  generations only grow; the run with the highest is the only one that may change the feed

local feed, queue, lease_ms = KEYS[1], KEYS[2], tonumber(ARGV[1])
-- include clock

local now_ms = read_clock_ms()
local work = redis.call('LINDEX', queue, 0)
if not work or tonumber(redis.call('HGET', feed, 'lease_until_ms') or 0) > now_ms then
  return {}
end
local generation = redis.call('HINCRBY', feed, 'generation', 1)
redis.call('HSET', feed, 'lease_until_ms', ms_text(now_ms + lease_ms))
return { generation, work }
